"""Arrays in, numbers out: accuracy, distances between distributions, significance."""

# Fewest generated images for a distance: as many as the Inception has features; two per block of the jackknife.
FEWEST_IMAGES = {"inception": 2048, "fashion-net": 40}

"""Arrays in, numbers out: accuracy, distances between distributions, significance."""

# With fewer generated images a network's distances say nothing: the Inception's features; two images a block of the
# small network's jackknife.
FEWEST_IMAGES = {"inception": 2048, "fashion-net": 40}

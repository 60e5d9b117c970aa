"""The bodies of the model jobs, a module each: a spec in, whole files out. They import no more than they use."""

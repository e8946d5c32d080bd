"""Where etcd's binaries come from: a module a source. Each first settles (looks), and later obtains.

Every source ends in the same thing: an Archive in the cache, laid out like an official release tarball.
"""

"""What tests share that is no test: the cache outside the repo, real etcd binaries, a private apt."""

"""Codes of findings about the space in a database, and about its growth."""

from etcdup.core.rules.model import Code

SPACE_CODES = (
    Code(
        "database-nearly-full",
        "The database is nearly full",
        "The database of a member uses more than 80 % of its quota.",
        "A member with a full database raises NOSPACE, and the cluster refuses writes.",
        "Run `etcdup maintain fix-space`: it frees space without deleting a key, or says which `quota` helps. If free "
        "pages are the cause, `etcdup maintain defrag` is enough.",
        (107,),
    ),
    Code(
        "database-in-use-high",
        "The data needs most of the quota",
        "The data of a member, without free pages, needs more than 70 % of its quota.",
        "A defragmentation cannot free this space. At the quota, the cluster refuses writes.",
        "Run `etcdup maintain space --live` to find out which keys grow. Near the quota, `etcdup maintain fix-space` "
        "removes the history. Otherwise delete keys that are not needed, or raise `quota` in cluster.yaml and run "
        "`etcdup apply`.",
        (107,),
    ),
    Code(
        "database-fragmented",
        "The database file has much free space",
        "More than 200 MiB and more than 40 % of the database file are free pages.",
        "The file and each backup are larger than needed. etcd reuses the space, but does not free it on the disk.",
        "Run `etcdup maintain defrag`.",
        (75,),
    ),
    Code(
        "database-fragmented-again",
        "The database grows again after defragmentation",
        "More than 200 MiB and more than 40 % of the database file are free pages, although the member was "
        "defragmented at least once a day since its start.",
        "From 3.5 on, etcd uses by default a list of free pages (`map`) that does not use the first free pages of the "
        "file first. A file of several GiB can then grow, although it has free pages.",
        "Write `extra: {backend-bbolt-freelist-type: array}` below `etcd` in cluster.yaml, and run `etcdup apply`. "
        "Then run `etcdup maintain defrag` once more. `array` needs more CPU time on a file with very many free pages.",
        (75,),
    ),
    Code(
        "database-grows",
        "The database reaches its quota soon",
        "At the growth since an earlier backup, a database reaches its quota within 14 days. The backup is at least a "
        "day and at most a week old.",
        "A member with a full database raises NOSPACE, and the cluster refuses writes.",
        "Run `etcdup maintain space --live` to find out which keys grow. Delete keys that are not needed, or raise "
        "`quota` in cluster.yaml and run `etcdup apply`.",
        (107,),
    ),
    Code(
        "growth-not-known",
        "The growth of the database is not known",
        "The backups could not be listed within two seconds. etcdup compares the size of the database with theirs.",
        "A database that grows fast is then found only when it is nearly full.",
        "Run `etcdup backup list` to see why. Then run `etcdup check` again.",
        (107,),
    ),
)

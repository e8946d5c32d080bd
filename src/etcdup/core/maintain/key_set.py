"""A set of keys with bounded memory: 8 bytes for the hash of a key."""

from array import array

# A table of this size takes 32 MiB, and has up to three million keys.
MAX_SLOTS = 1 << 22
_FIRST_SLOTS = 1 << 12
_MASK = (1 << 64) - 1


class KeySet:
    """The hashes of keys, in a table with open addressing.

    A hash of Python has a random seed for each process, so a hostile file cannot contain keys with equal hashes. Once
    the table is full, no key is added, and `is_full` is set.
    """

    def __init__(self, max_slots: int = MAX_SLOTS) -> None:
        self.is_full = False
        self._max_slots = max_slots
        self._slots = array("Q", bytes(8 * min(_FIRST_SLOTS, max_slots)))
        self._last = len(self._slots) - 1
        self._count = 0

    def __contains__(self, key: bytes) -> bool:
        number = hash(key) & _MASK or 1
        return self._slots[self._find(number)] == number

    def add(self, key: bytes) -> bool:
        """Add a key, and return whether it is new."""
        number = hash(key) & _MASK or 1
        at = self._find(number)
        if self._slots[at]:
            return False
        if self._count * 4 >= self._last * 3:
            if len(self._slots) >= self._max_slots:
                self.is_full = True
                return True
            self._grow()
            at = self._find(number)
        self._slots[at] = number
        self._count += 1
        return True

    def _find(self, number: int) -> int:
        """Return the slot that has this number, or the free slot for it."""
        slots, last = self._slots, self._last
        at = number & last
        while (found := slots[at]) and found != number:
            at = (at + 1) & last
        return at

    def _grow(self) -> None:
        before = self._slots
        self._slots = array("Q", bytes(8 * 2 * len(before)))
        self._last = len(self._slots) - 1
        for number in before:
            if number:
                self._slots[self._find(number)] = number

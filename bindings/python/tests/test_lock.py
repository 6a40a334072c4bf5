"""Locks: by `with` and by hand."""

import threading

import lighter_cache as lc
import pytest


def test_with(full):
    with full.lock("job", lease=10, wait=2) as lock:
        assert isinstance(lock.fence, int)
        assert "not held" not in repr(lock)
        with pytest.raises(lc.LockBusyError) as error, full.lock("job", lease=10):
            pytest.fail("two at once")
        assert error.value.status == 4
        # Another name is another lock, and so is a key.
        with full.lock("other", lease="10s"):
            full.set("job", b"v")
    with full.lock("job", lease=10):
        pass


def test_by_hand(full):
    lock = full.lock("job", lease=10)
    with pytest.raises(lc.LockError):
        _ = lock.fence
    assert lock.release() is False
    assert lock.extend() is False
    assert lock.acquire() is True
    first = lock.fence
    assert full.lock("job", 10).acquire() is False
    assert lock.extend() is True
    assert lock.extend(20) is True
    assert lock.release() is True
    assert lock.release() is False
    assert lock.fence == first
    assert lock.acquire() is True
    assert lock.fence > first
    with pytest.raises(lc.LockError):
        lock.acquire()
    lock.release()


def test_a_lease_that_ran_out(full):
    lock = full.lock("job", lease=0.02)
    other = full.lock("job", lease=10, wait=20)
    with pytest.raises(lc.LockLostError) as error:
        with lock:
            assert other.acquire()
            assert lock.extend(10) is False
    assert error.value.status == 5
    assert other.fence > lock.fence
    assert other.release() is True


def test_the_exception_of_the_block_says_more_than_a_lost_lease(full):
    other = full.lock("job", lease=10, wait=20)
    with pytest.raises(ZeroDivisionError):
        with full.lock("job", lease=0.02):
            other.acquire()
            raise ZeroDivisionError


def test_a_lock_that_is_forgotten_is_given_back(full):
    full.lock("job", lease=60).acquire()
    assert full.lock("job", lease=1, wait=20).acquire()


def test_one_at_a_time(full):
    inside, most, total = [], [], []

    def work():
        for _ in range(20):
            with full.lock("job", lease=30, wait=60):
                inside.append(1)
                most.append(len(inside))
                total.append(1)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert len(total) == 80


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("k",), TypeError),
        (("k", None), lc.InvalidError),
        (("k", float("inf")), lc.InvalidError),
        (("k", "soon"), ValueError),
        (("k", object()), TypeError),
        ((5, 5), TypeError),
    ],
)
def test_wrong_arguments(local, arguments, error):
    with pytest.raises(error):
        local.lock(*arguments)


def test_a_lease_of_nothing(full):
    with pytest.raises(lc.InvalidError):
        full.lock("k", 0).acquire()

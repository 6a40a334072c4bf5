"""Chaos: real processes in C, C++ and Python on a real server, while faults happen at random.

    run        the way in: rounds of faults, the report; `make test-chaos`, `make soak-hybrid`
    faults     what is done to servers, connections and processes, and the order of it
    proxy      stands between one worker and the server: black hole, one-way stall, trickle, reset
    workers    starts and tells the worker processes, and the plain client that also writes
    record     what a worker writes down of each operation; the values that they store
    history    judges the records: what a read may have returned

The workers are `worker.c`, `worker.cpp` and `worker.py`; the first two share `worker.h`. Only the standard
library and the package under test are used.
"""

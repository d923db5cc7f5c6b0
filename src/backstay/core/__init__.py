"""Words that every room uses: money, usage, messages, ids, clock, errors, settings, ports. No I/O, no SQL, no HTTP."""

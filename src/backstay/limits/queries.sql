-- name: sync
select limits_sync(%(worker)s, %(seq)s, %(asks)s::jsonb, %(span_us)s, %(lease_us)s, %(gap_us)s, %(dead_us)s)::text as reply

-- name: end_worker
select limits_end(%(worker)s, %(notes)s::jsonb) as given_back

-- name: sweep
select limits_sweep(%(gone_us)s)

-- name: sync
select limits_sync(%(worker)s, %(seq)s, %(asks)s::jsonb, %(span_us)s, %(lease_us)s, %(gap_us)s, %(dead_us)s)::text as reply

-- name: sweep
select limits_sweep(%(gone_us)s)

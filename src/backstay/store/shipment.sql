-- name: prepare
-- Sums that other shippers wait for are locked until the commit: one that hangs must not hold them up for long.
set local client_min_messages = warning;
set local idle_in_transaction_session_timeout = '10s';
create temp table if not exists shipment (entry_id text, doc jsonb not null, input text, output text) on commit delete rows;

-- name: copy
copy shipment (entry_id, doc, input, output) from stdin;

-- name: ensure_partitions
select ensure_partitions(date '1970-01-01' + day) from unnest(%(days)s::int[]) as day order by day;

-- name: prepare
-- Sums that other shippers wait for are locked until the commit: one that hangs must not hold them up for long.
-- A batch is sorted, and shown to the triggers, in memory. Rows in `shipment` are read several times and not kept, so that
-- they are compressed only where a page does not hold them.
set local client_min_messages = warning;
set local work_mem = '32MB';
set local idle_in_transaction_session_timeout = '10s';
create temp table if not exists shipment (entry_id text, doc jsonb not null, input text, output text)
  with (toast_tuple_target = 8160) on commit delete rows;

-- name: copy
copy shipment (entry_id, doc, input, output) from stdin (format binary);

-- name: ensure_partitions
select ensure_partitions(date '1970-01-01' + day) from unnest(%(days)s::int[]) as day order by day;

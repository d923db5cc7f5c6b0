-- A worker whose process has ended, and all of whose uses are known, owes the limits nothing more: what it had borrowed
-- and did not use is free at once, and no late message of it counts. Rules: docs/decisions/0024-permits-of-dead-workers.md.
alter table limit_workers add column ended boolean not null default false;

-- As in 0004, but who has ended is waited for by nobody, and is none of the living.
create or replace function limits_hear(worker_id text, gap_us bigint, dead_us bigint,
                                       out settled boolean, out dead_before_us bigint, out live integer)
language plpgsql as $$
declare
  now_us bigint := limits_now_us();
  old limit_workers;
begin
  select * into old from limit_workers where worker = worker_id for update;
  if old.worker is null then
    old := row(worker_id, now_us, now_us, false, false);
  elsif now_us - old.seen_us > gap_us then
    old.returned := exists (select from limit_workers o where o.worker <> worker_id and not o.ended
                            and o.seen_us > old.seen_us - dead_us)
      and not exists (select from limit_workers o where o.worker <> worker_id and not o.ended
                      and o.since_us <= old.seen_us + gap_us and o.seen_us > now_us - gap_us);
    old.since_us := now_us;
  end if;
  insert into limit_workers values (worker_id, now_us, old.since_us, old.returned)
  on conflict (worker) do update set seen_us = excluded.seen_us, since_us = excluded.since_us,
                                     returned = excluded.returned;
  settled := not old.returned or now_us - old.since_us > gap_us;
  dead_before_us := case when now_us - old.since_us > dead_us then now_us - dead_us else 0 end;
  select count(*) into live from limit_workers where seen_us > now_us - dead_us and not ended;
end $$;

-- One sync of a worker (0004). Of one that has ended it was on its way when the worker died, and has no effect.
alter function limits_sync(text, bigint, jsonb, bigint, bigint, bigint, bigint) rename to limits_exchange;
create function limits_sync(worker_id text, sync_seq bigint, asks jsonb, span_us bigint, lease_us bigint,
                            gap_us bigint, dead_us bigint) returns jsonb
language plpgsql as $$
declare
  has_ended boolean;
begin
  -- The row's lock makes it one or the other: taken before the end, or without effect after it. The first sync of a
  -- worker, which finds no row, asks for nothing.
  select ended into has_ended from limit_workers where worker = worker_id for update;
  if has_ended then
    return jsonb_build_object('at_us', limits_now_us(), 'settled', false, 'workers', 1, 'answers', '[]'::jsonb);
  end if;
  return limits_exchange(worker_id, sync_seq, asks, span_us, lease_us, gap_us, dead_us);
end $$;

-- Close the account of a worker that is dead: count what it used and did not tell, and free all else that it holds.
-- `notes`: (tenant, scope, meter, seq, frees_us, amount) of each use; null: nobody knows what it used, so that what it
-- holds of a minute is free when it would have been. Returns what it held, of uses and permits. The first time counts.
create function limits_end(worker_id text, notes jsonb) returns bigint
language plpgsql as $$
declare
  place record;
  now_us bigint := limits_now_us();
  last_seq bigint;
  had bigint;
  total bigint := 0;
begin
  insert into limit_workers as w values (worker_id, now_us, now_us, false, true)
  on conflict (worker) do update set ended = true where not w.ended;
  if not found then
    return 0;
  end if;
  for place in
    select tenant_id, scope, meter, hashtextextended(tenant_id || '/' || scope || '/' || meter, 0) as lock
    from (select tenant_id, scope, meter from limit_leases where worker = worker_id
          union
          select note->>0, note->>1, note->>2 from jsonb_array_elements(notes) as note) as touched
    where notes is not null or meter = 'concurrency'
    order by lock
  loop
    perform pg_advisory_xact_lock(place.lock);
    now_us := limits_now_us();
    delete from limit_leases l
    where (l.tenant_id, l.scope, l.meter, l.worker) = (place.tenant_id, place.scope, place.meter, worker_id)
    returning l.seq, case when l.frees_us > now_us then l.held else 0 end into last_seq, had;
    insert into limit_uses as u
    select place.tenant_id, place.scope, place.meter, (note->>4)::bigint, sum((note->>5)::bigint)
    from jsonb_array_elements(notes) as note
    where (note->>0, note->>1, note->>2) = (place.tenant_id, place.scope, place.meter)
      and (note->>3)::bigint > coalesce(last_seq, 0) and (note->>4)::bigint > now_us
    group by (note->>4)::bigint
    on conflict (tenant_id, scope, meter, frees_us) do update set amount = u.amount + excluded.amount;
    total := total + coalesce(had, 0);
  end loop;
  return total;
end $$;

revoke all on function limits_sync(text, bigint, jsonb, bigint, bigint, bigint, bigint), limits_end(text, jsonb) from public;
grant execute on function limits_sync(text, bigint, jsonb, bigint, bigint, bigint, bigint), limits_end(text, jsonb)
  to backstay_system;

-- The calls of one batch, the newest first. Other calls have no place in it.
create index spans_of_batch on spans (tenant_id, (attributes->>'backstay.batch.id'), started_at desc, span_id desc)
  where kind = 'call' and attributes->>'backstay.batch.id' is not null;

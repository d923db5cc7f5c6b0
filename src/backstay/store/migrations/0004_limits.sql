-- Limits for callers: what a key may do, and the book from which workers borrow permits. Times are microseconds of this
-- server's clock since the Unix epoch.
alter table keys add column requests_per_min integer check (requests_per_min > 0),
                 add column tokens_per_min bigint check (tokens_per_min > 0),
                 add column concurrency integer check (concurrency > 0);

-- What was used, by the moment at which it counts no longer. A limit per minute only.
create table limit_uses (
  tenant_id text not null,
  scope     text not null,
  meter     text not null,
  frees_us  bigint not null,
  amount    bigint not null,
  primary key (tenant_id, scope, meter, frees_us)
);
create index limit_uses_old on limit_uses (frees_us);

-- What a worker holds: permits it may still use, or calls that run. `seq` is the last sync of the worker that was taken.
create table limit_leases (
  tenant_id text not null,
  scope     text not null,
  meter     text not null,
  worker    text not null,
  seq       bigint not null,
  held      bigint not null,
  frees_us  bigint not null,
  primary key (tenant_id, scope, meter, worker)
);
create index limit_leases_old on limit_leases (frees_us);
create index limit_leases_of on limit_leases (worker);

-- The workers that are heard of. They belong to no tenant: only the system role sees them.
create table limit_workers (
  worker   text primary key,
  seen_us  bigint not null,
  since_us bigint not null,           -- since when it was heard of without a gap
  returned boolean not null default false  -- whether it was away before that, together with all others
);

do $$
declare
  name text;
begin
  foreach name in array array['limit_uses', 'limit_leases'] loop
    execute format('alter table %I enable row level security', name);
    execute format('alter table %I force row level security', name);
    execute format('create policy one_tenant on %I to backstay_app using (tenant_id = backstay_tenant()) '
                   'with check (tenant_id = backstay_tenant())', name);
    execute format('create policy all_tenants on %I to backstay_system using (true) with check (true)', name);
  end loop;
end $$;
alter table limit_workers enable row level security;
alter table limit_workers force row level security;
create policy all_workers on limit_workers to backstay_system using (true) with check (true);
grant select, insert, update, delete on limit_uses, limit_leases, limit_workers to backstay_system;
grant select on limit_uses, limit_leases to backstay_app;

create function limits_now_us() returns bigint language sql volatile
  as $$ select (extract(epoch from clock_timestamp()) * 1000000)::bigint $$;

-- Note that a worker lives. Returns whether permits may be given to it, and from whom what they hold may be taken.
--
-- After an outage nobody gets permits for a while, until all that live have told what they used meanwhile: a worker that
-- comes back after a gap waits, unless another one was here all the time, or it is the only one. And a worker that was not heard of is taken
-- for dead only by one that has itself been here for as long.
create function limits_hear(worker_id text, gap_us bigint, dead_us bigint,
                            out settled boolean, out dead_before_us bigint, out live integer)
language plpgsql as $$
declare
  now_us bigint := limits_now_us();
  old limit_workers;
begin
  select * into old from limit_workers where worker = worker_id for update;
  if old.worker is null then
    old := row(worker_id, now_us, now_us, false);
  elsif now_us - old.seen_us > gap_us then
    old.returned := exists (select from limit_workers o where o.worker <> worker_id
                            and o.seen_us > old.seen_us - dead_us)
      and not exists (select from limit_workers o where o.worker <> worker_id
                      and o.since_us <= old.seen_us + gap_us and o.seen_us > now_us - gap_us);
    old.since_us := now_us;
  end if;
  insert into limit_workers values (worker_id, now_us, old.since_us, old.returned)
  on conflict (worker) do update set seen_us = excluded.seen_us, since_us = excluded.since_us,
                                     returned = excluded.returned;
  settled := not old.returned or now_us - old.since_us > gap_us;
  dead_before_us := case when now_us - old.since_us > dead_us then now_us - dead_us else 0 end;
  select count(*) into live from limit_workers where seen_us > now_us - dead_us;
end $$;

-- One sync of a worker: take what it used, note what it holds, give what it needs. Atomic, and without effect when it
-- arrives after a later one of the same worker. `asks` and the answers are described in limits/types.py.
create function limits_sync(worker_id text, sync_seq bigint, asks jsonb, span_us bigint, lease_us bigint,
                            gap_us bigint, dead_us bigint) returns jsonb
language plpgsql as $$
declare
  heard record;
  ask record;
  now_us bigint;
  last_seq bigint;
  room bigint;
  granted bigint;
  next_us bigint;
  fits_us bigint;
  answers jsonb := '[]';
begin
  -- A worker that is stopped between this and its commit must not hold the others up.
  perform set_config('idle_in_transaction_session_timeout', '2000', true);
  select * into heard from limits_hear(worker_id, gap_us, dead_us);
  for ask in
    select a.*, b.place, hashtextextended(a.tenant_id || '/' || a.scope || '/' || a.meter, 0) as lock
    from jsonb_array_elements(asks) with ordinality as b (value, place),
         jsonb_to_record(b.value) as a (tenant_id text, scope text, meter text, "limit" bigint, held bigint,
                                        need bigint, unit bigint, wish bigint, uses jsonb)
    order by lock, place
  loop
    perform pg_advisory_xact_lock(ask.lock);
    now_us := limits_now_us();
    select seq into last_seq from limit_leases l
    where (l.tenant_id, l.scope, l.meter, l.worker) = (ask.tenant_id, ask.scope, ask.meter, worker_id);
    continue when last_seq >= sync_seq;

    delete from limit_uses u
    where (u.tenant_id, u.scope, u.meter) = (ask.tenant_id, ask.scope, ask.meter) and u.frees_us <= now_us;
    insert into limit_uses as u
    select ask.tenant_id, ask.scope, ask.meter, (use->>1)::bigint, sum((use->>2)::bigint)
    from jsonb_array_elements(ask.uses) as use
    where (use->>0)::bigint > coalesce(last_seq, 0) and (use->>1)::bigint > now_us
    group by (use->>1)::bigint
    on conflict (tenant_id, scope, meter, frees_us) do update set amount = u.amount + excluded.amount;

    select ask."limit" - ask.held - coalesce(sum(amount), 0), min(u.frees_us) into room, next_us from limit_uses u
    where (u.tenant_id, u.scope, u.meter) = (ask.tenant_id, ask.scope, ask.meter);
    select room - coalesce(sum(l.held), 0) into room
    from limit_leases l left join limit_workers w using (worker)
    where (l.tenant_id, l.scope, l.meter) = (ask.tenant_id, ask.scope, ask.meter) and l.worker <> worker_id
      and l.frees_us > now_us and (ask.meter <> 'concurrency' or coalesce(w.seen_us, 0) >= heard.dead_before_us);

    granted := 0;
    if heard.settled and room >= ask.unit then
      granted := least(ask.need, room) + least(ask.wish, greatest(room - ask.need, 0) / 8);
    end if;
    room := room - granted;
    fits_us := null;
    if not heard.settled then
      fits_us := gap_us;
    elsif granted < ask.need and ask.meter <> 'concurrency' then
      -- When enough may be back: each use when it frees, and what others hold when they may give it back.
      select min(frees) - now_us into fits_us
      from (select frees, sum(amount) over (order by frees) as back
            from (select u.frees_us as frees, amount from limit_uses u
                  where (u.tenant_id, u.scope, u.meter) = (ask.tenant_id, ask.scope, ask.meter)
                  union all
                  select case when l.frees_us - span_us > now_us then l.frees_us - span_us else l.frees_us end, l.held
                  from limit_leases l
                  where (l.tenant_id, l.scope, l.meter) = (ask.tenant_id, ask.scope, ask.meter)
                    and l.worker <> worker_id and l.frees_us > now_us) as coming) as total
      where back >= ask.unit - room;
    end if;

    insert into limit_leases values (
      ask.tenant_id, ask.scope, ask.meter, worker_id, sync_seq, ask.held + granted,
      case when ask.meter = 'concurrency' then 9223372036854775807 else now_us + lease_us + span_us end)
    on conflict (tenant_id, scope, meter, worker)
    do update set seq = excluded.seq, held = excluded.held, frees_us = excluded.frees_us;
    answers := answers || jsonb_build_object('place', ask.place - 1, 'granted', granted, 'free', room,
                                             'next_us', next_us - now_us, 'fits_us', fits_us);
  end loop;
  return jsonb_build_object('at_us', limits_now_us(), 'settled', heard.settled, 'workers', heard.live,
                            'answers', answers);
end $$;

-- Throw away what counts no longer, without waiting for anybody.
create function limits_sweep(gone_us bigint) returns void language plpgsql as $$
declare
  now_us bigint := limits_now_us();
begin
  delete from limit_uses where ctid = any(array(
    select ctid from limit_uses where frees_us <= now_us limit 10000 for update skip locked));
  delete from limit_leases where ctid = any(array(
    select ctid from limit_leases where frees_us <= now_us limit 10000 for update skip locked));
  delete from limit_leases where worker not in (select worker from limit_workers where seen_us > now_us - gone_us)
    and frees_us = 9223372036854775807;
  delete from limit_workers where seen_us <= now_us - gone_us;
end $$;

revoke all on function limits_now_us(), limits_hear(text, bigint, bigint),
  limits_sync(text, bigint, jsonb, bigint, bigint, bigint, bigint), limits_sweep(bigint) from public;
grant execute on function limits_now_us(), limits_hear(text, bigint, bigint),
  limits_sync(text, bigint, jsonb, bigint, bigint, bigint, bigint), limits_sweep(bigint) to backstay_system;

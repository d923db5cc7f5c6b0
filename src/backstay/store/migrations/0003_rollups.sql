-- Sums of the ledger and of calls by hour, quarter of a day and day (UTC), so that a report over months reads few rows.
-- Triggers keep them: whoever inserts, in whatever version, in the same transaction; rows that were there already
-- (`on conflict do nothing`) count no second time. Rows are locked in the order of their keys, spans' sums before the
-- ledger's, so that shippers wait for each other and never in a circle. Reasons and costs: docs/decisions/0009.

-- No shipper writes until the end of this migration; their journals hold what comes meanwhile.
lock table spans, ledger_entries in share row exclusive mode;

-- What attempts cost. One attempt counts in the rows of kind 'all', in those of its user (kind 'user', name: the user),
-- and in those of each of its tags (kind 'tag', name: the tag, or null where it has none). The sums that depend on
-- which attempts are looked at together stand twice: over all targets of a call, and for the row's target alone.
create table cost_rollups (
  tenant_id            text collate "C" not null,
  kind                 text collate "C" not null check (kind in ('all', 'user', 'tag')),
  grain_s              int not null,
  at                   timestamptz not null,
  name                 text collate "C",
  model                text collate "C" not null,
  target               text collate "C" not null,
  feature              text collate "C",
  key_id               text collate "C",
  calls                bigint not null,
  target_calls         bigint not null,
  unknown_calls        bigint not null,
  target_unknown_calls bigint not null,
  estimated_attempts   bigint not null,
  unconfirmed_attempts bigint not null,
  input_tokens         bigint not null,
  output_tokens        bigint not null,
  cost_nanousd         bigint not null
) with (fillfactor = 70);
create unique index cost_rollups_key on cost_rollups (tenant_id, kind, grain_s, at, name, model, target, feature, key_id)
  nulls not distinct;

create table call_rollups (
  tenant_id          text collate "C" not null,
  grain_s            int not null,
  at                 timestamptz not null,
  model              text collate "C",
  target             text collate "C",
  calls              bigint not null,
  errors             bigint not null,
  unknown_cost_calls bigint not null,
  input_tokens       bigint not null,
  output_tokens      bigint not null,
  cost_nanousd       bigint not null
) with (fillfactor = 70);
create unique index call_rollups_key on call_rollups (tenant_id, grain_s, at, model, target) nulls not distinct;

-- How many calls took how long: a histogram whose buckets grow by a tenth each. A call counts in one of all calls (kind
-- 'all', without model and target), which plots over time read, and in that of its model and target (kind 'target').
create table latency_rollups (
  tenant_id text collate "C" not null,
  kind      text collate "C" not null check (kind in ('all', 'target')),
  grain_s   int not null,
  at        timestamptz not null,
  model     text collate "C",
  target    text collate "C",
  measure   text collate "C" not null check (measure in ('duration', 'first_token')),
  bucket    smallint not null,
  calls     bigint not null
) with (fillfactor = 70);
create unique index latency_rollups_key on latency_rollups (tenant_id, kind, grain_s, at, model, target, measure, bucket)
  nulls not distinct;

create function rollup_grains() returns setof int language sql immutable parallel safe rows 3
  as $$ values (3600), (21600), (86400) $$;

create function rollup_start(grain_s int, at timestamptz) returns timestamptz language sql immutable parallel safe
  as $$ select date_bin(grain_s * interval '1 second', at, timestamptz '1970-01-01 00:00:00+00') $$;

-- Bucket n holds what is over 1.1^(n - 1) and up to 1.1^n nanoseconds; its value is at most 4.8 % off either end.
create function latency_bucket(duration_ns bigint) returns smallint language sql immutable parallel safe
  as $$ select ceil(ln(greatest(duration_ns, 1)::float8) / ln(1.1::float8))::smallint $$;

create function latency_value(bucket int) returns bigint language sql immutable parallel safe
  as $$ select round(1.1::float8 ^ bucket / 1.05)::bigint $$;

-- A call that failed before it reached a target may name anything as its model: sums must not grow by each such name.
create function counted_model(model text, target text, status text) returns text language sql immutable parallel safe
  as $$ select case when status <> 'error' or target is not null then model end $$;

-- A later attempt of a call comes in the same statement as the earlier ones, or after them: they are one frame of a
-- journal. Attempts beyond the first are few, so that they alone look for earlier ones.
create function roll_up_costs() returns trigger language plpgsql as $$
begin
  insert into cost_rollups as sums (tenant_id, kind, grain_s, at, name, model, target, feature, key_id, calls,
                                    target_calls, unknown_calls, target_unknown_calls, estimated_attempts,
                                    unconfirmed_attempts, input_tokens, output_tokens, cost_nanousd)
  select tenant_id, kind, grain_s, rollup_start(grain_s, entry.at) as start, name, model, target, feature, key_id,
         count(*) filter (where is_first), count(*) filter (where is_first_on_target),
         count(*) filter (where is_first_unknown), count(*) filter (where is_first_unknown_on_target),
         count(*) filter (where estimated), count(*) filter (where unconfirmed),
         coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0), coalesce(sum(cost_nanousd), 0)
  from (
    select *,
           attempt = 0 or not exists (
             select from ledger_entries earlier
             where earlier.tenant_id = added.tenant_id and earlier.at = added.at and earlier.call_id = added.call_id
               and earlier.attempt < added.attempt) as is_first,
           attempt = 0 or not exists (
             select from ledger_entries earlier
             where earlier.tenant_id = added.tenant_id and earlier.at = added.at and earlier.call_id = added.call_id
               and earlier.attempt < added.attempt and earlier.target = added.target) as is_first_on_target,
           cost_nanousd is null and (attempt = 0 or not exists (
             select from ledger_entries earlier
             where earlier.tenant_id = added.tenant_id and earlier.at = added.at and earlier.call_id = added.call_id
               and earlier.attempt < added.attempt and earlier.cost_nanousd is null)) as is_first_unknown,
           cost_nanousd is null and (attempt = 0 or not exists (
             select from ledger_entries earlier
             where earlier.tenant_id = added.tenant_id and earlier.at = added.at and earlier.call_id = added.call_id
               and earlier.attempt < added.attempt and earlier.target = added.target
               and earlier.cost_nanousd is null)) as is_first_unknown_on_target
    from added
  ) entry
  cross join lateral (
    select 'all' as kind, null as name
    union all
    select 'user', user_id
    union all
    select 'tag', tag from (select 1) one left join lateral unnest(tags) as tag on true
  ) part
  cross join rollup_grains() as grain_s
  group by tenant_id, kind, grain_s, start, name, model, target, feature, key_id
  order by tenant_id collate "C", kind collate "C", grain_s, start, name collate "C", model collate "C",
           target collate "C", feature collate "C", key_id collate "C"
  on conflict (tenant_id, kind, grain_s, at, name, model, target, feature, key_id) do update
  set calls = sums.calls + excluded.calls,
      target_calls = sums.target_calls + excluded.target_calls,
      unknown_calls = sums.unknown_calls + excluded.unknown_calls,
      target_unknown_calls = sums.target_unknown_calls + excluded.target_unknown_calls,
      estimated_attempts = sums.estimated_attempts + excluded.estimated_attempts,
      unconfirmed_attempts = sums.unconfirmed_attempts + excluded.unconfirmed_attempts,
      input_tokens = sums.input_tokens + excluded.input_tokens,
      output_tokens = sums.output_tokens + excluded.output_tokens,
      cost_nanousd = sums.cost_nanousd + excluded.cost_nanousd;
  return null;
end $$;

create function roll_up_calls() returns trigger language plpgsql as $$
begin
  insert into call_rollups as sums (tenant_id, grain_s, at, model, target, calls, errors, unknown_cost_calls,
                                    input_tokens, output_tokens, cost_nanousd)
  select tenant_id, grain_s, rollup_start(grain_s, started_at) as start, counted, target, count(*),
         count(*) filter (where status in ('error', 'interrupted')), count(*) filter (where cost_nanousd is null),
         coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0), coalesce(sum(cost_nanousd), 0)
  from (select *, counted_model(model, target, status) as counted from added where kind = 'call') call
  cross join rollup_grains() as grain_s
  group by tenant_id, grain_s, start, counted, target
  order by tenant_id collate "C", grain_s, start, counted collate "C", target collate "C"
  on conflict (tenant_id, grain_s, at, model, target) do update
  set calls = sums.calls + excluded.calls,
      errors = sums.errors + excluded.errors,
      unknown_cost_calls = sums.unknown_cost_calls + excluded.unknown_cost_calls,
      input_tokens = sums.input_tokens + excluded.input_tokens,
      output_tokens = sums.output_tokens + excluded.output_tokens,
      cost_nanousd = sums.cost_nanousd + excluded.cost_nanousd;
  insert into latency_rollups as sums (tenant_id, kind, grain_s, at, model, target, measure, bucket, calls)
  select tenant_id, part.kind, grain_s, rollup_start(grain_s, started_at) as start, part.model, part.target, measure,
         latency_bucket(length_ns) as length, count(*)
  from (select *, counted_model(model, target, status) as counted from added where kind = 'call') call
  cross join lateral (values ('all', null, null), ('target', counted, target)) as part (kind, model, target)
  cross join lateral (values ('duration', duration_ns), ('first_token', first_token_ns)) as taken (measure, length_ns)
  cross join rollup_grains() as grain_s
  where length_ns is not null
  group by tenant_id, part.kind, grain_s, start, part.model, part.target, measure, length
  order by tenant_id collate "C", part.kind collate "C", grain_s, start, part.model collate "C",
           part.target collate "C", measure collate "C", length
  on conflict (tenant_id, kind, grain_s, at, model, target, measure, bucket) do update
  set calls = sums.calls + excluded.calls;
  return null;
end $$;

create trigger roll_up after insert on ledger_entries
  referencing new table as added for each statement execute function roll_up_costs();
create trigger roll_up after insert on spans
  referencing new table as added for each statement execute function roll_up_calls();

do $$
declare
  name text;
begin
  foreach name in array array['cost_rollups', 'call_rollups', 'latency_rollups'] loop
    execute format('alter table %I enable row level security', name);
    execute format('alter table %I force row level security', name);
    execute format('create policy one_tenant on %I to backstay_app using (tenant_id = backstay_tenant()) '
                   'with check (tenant_id = backstay_tenant())', name);
    execute format('create policy all_tenants on %I to backstay_system using (true) with check (true)', name);
    execute format('grant select on %I to backstay_app', name);
    execute format('grant select, insert, update on %I to backstay_system', name);
  end loop;
end $$;

-- What is there already goes through the same triggers, a day at a time, as the role that sees all tenants.
set local role backstay_system;
create temp table backfilled_entries (like ledger_entries) on commit drop;
create temp table backfilled_calls (
  tenant_id text, started_at timestamptz, kind text, status text, model text, target text, duration_ns bigint,
  first_token_ns bigint, input_tokens bigint, output_tokens bigint, cost_nanousd bigint
) on commit drop;
create trigger roll_up after insert on backfilled_entries
  referencing new table as added for each statement execute function roll_up_costs();
create trigger roll_up after insert on backfilled_calls
  referencing new table as added for each statement execute function roll_up_calls();

do $$
declare
  day timestamptz;
begin
  for day in
    select distinct date_bin('1 day', started_at, timestamptz '1970-01-01 00:00:00+00') from spans
    union
    select distinct date_bin('1 day', at, timestamptz '1970-01-01 00:00:00+00') from ledger_entries
  loop
    insert into backfilled_calls
    select tenant_id, started_at, kind, status, model, target, duration_ns, first_token_ns, input_tokens, output_tokens,
           cost_nanousd
    from spans where kind = 'call' and started_at >= day and started_at < day + interval '1 day';
    insert into backfilled_entries select * from ledger_entries where at >= day and at < day + interval '1 day';
    truncate backfilled_calls, backfilled_entries;
  end loop;
end $$;
reset role;

-- Calls that failed, and those that were interrupted, each the newest first.
drop index spans_not_ok;
create index spans_not_ok on spans (tenant_id, status, started_at desc, span_id desc)
  where kind = 'call' and status <> 'ok';

-- As before, but it looks again in the catalog itself once it has the lock: what a name is resolved by may be remembered
-- from before another shipper made the partition.
create or replace function ensure_partitions(day date) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  parent text;
  child text;
begin
  foreach parent in array array['spans', 'ledger_entries'] loop
    child := parent || '_' || to_char(day, 'YYYYMMDD');
    if to_regclass(child) is null then
      perform pg_advisory_xact_lock(hashtext('backstay.partition'));
      if not exists (select from pg_class where relname = child and relnamespace = 'public'::regnamespace) then
        execute format('create table %I partition of %I for values from (%L) to (%L)', child, parent,
                       day::timestamp at time zone 'utc', (day + 1)::timestamp at time zone 'utc');
      end if;
    end if;
  end loop;
end $$;

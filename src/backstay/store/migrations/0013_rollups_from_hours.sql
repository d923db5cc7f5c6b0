-- What a statement adds to the sums is added up by the hour first, once, and the longer stretches and the kinds of rows
-- are made of that: few rows instead of each call many times over. The sums, and the order in which rows are locked, are
-- as before, so that it is all the same which of the two a shipper meets.

create or replace function roll_up_costs() returns trigger language plpgsql as $$
begin
  insert into cost_rollups as sums (tenant_id, kind, grain_s, at, name, model, target, feature, key_id, calls,
                                    target_calls, unknown_calls, target_unknown_calls, estimated_attempts,
                                    unconfirmed_attempts, input_tokens, output_tokens, cost_nanousd)
  select tenant_id, kind, grain_s, rollup_start(grain_s, hour) as start, name, model, target, feature, key_id,
         sum(calls), sum(target_calls), sum(unknown_calls), sum(target_unknown_calls), sum(estimated_attempts),
         sum(unconfirmed_attempts), sum(input_tokens), sum(output_tokens), sum(cost_nanousd)
  from (
    select tenant_id, rollup_start(3600, at) as hour, user_id, tags, model, target, feature, key_id,
           count(*) filter (where attempt = 0 or not exists (
             select from ledger_entries earlier
             where earlier.tenant_id = added.tenant_id and earlier.at = added.at and earlier.call_id = added.call_id
               and earlier.attempt < added.attempt)) as calls,
           count(*) filter (where attempt = 0 or not exists (
             select from ledger_entries earlier
             where earlier.tenant_id = added.tenant_id and earlier.at = added.at and earlier.call_id = added.call_id
               and earlier.attempt < added.attempt and earlier.target = added.target)) as target_calls,
           count(*) filter (where cost_nanousd is null and (attempt = 0 or not exists (
             select from ledger_entries earlier
             where earlier.tenant_id = added.tenant_id and earlier.at = added.at and earlier.call_id = added.call_id
               and earlier.attempt < added.attempt and earlier.cost_nanousd is null))) as unknown_calls,
           count(*) filter (where cost_nanousd is null and (attempt = 0 or not exists (
             select from ledger_entries earlier
             where earlier.tenant_id = added.tenant_id and earlier.at = added.at and earlier.call_id = added.call_id
               and earlier.attempt < added.attempt and earlier.target = added.target
               and earlier.cost_nanousd is null))) as target_unknown_calls,
           count(*) filter (where estimated) as estimated_attempts,
           count(*) filter (where unconfirmed) as unconfirmed_attempts,
           coalesce(sum(input_tokens), 0) as input_tokens, coalesce(sum(output_tokens), 0) as output_tokens,
           coalesce(sum(cost_nanousd), 0) as cost_nanousd
    from added
    group by tenant_id, hour, user_id, tags, model, target, feature, key_id
  ) hourly
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

create or replace function roll_up_calls() returns trigger language plpgsql as $$
begin
  insert into call_rollups as sums (tenant_id, grain_s, at, model, target, calls, errors, unknown_cost_calls,
                                    input_tokens, output_tokens, cost_nanousd)
  select tenant_id, grain_s, rollup_start(grain_s, hour) as start, counted, target, sum(calls), sum(errors),
         sum(unknown_cost_calls), sum(input_tokens), sum(output_tokens), sum(cost_nanousd)
  from (
    select tenant_id, rollup_start(3600, started_at) as hour, counted_model(model, target, status) as counted, target,
           count(*) as calls, count(*) filter (where status in ('error', 'interrupted')) as errors,
           count(*) filter (where cost_nanousd is null) as unknown_cost_calls,
           coalesce(sum(input_tokens), 0) as input_tokens, coalesce(sum(output_tokens), 0) as output_tokens,
           coalesce(sum(cost_nanousd), 0) as cost_nanousd
    from added
    where kind = 'call'
    group by tenant_id, hour, counted, target
  ) hourly
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
  select tenant_id, part.kind, grain_s, rollup_start(grain_s, hour) as start, part.model, part.target, measure, length,
         sum(calls)
  from (
    select tenant_id, rollup_start(3600, started_at) as hour, counted_model(model, target, status) as counted, target,
           measure, latency_bucket(length_ns) as length, count(*) as calls
    from added
    cross join lateral (values ('duration', duration_ns), ('first_token', first_token_ns)) as taken (measure, length_ns)
    where kind = 'call' and length_ns is not null
    group by tenant_id, hour, counted, target, measure, length
  ) hourly
  cross join lateral (values ('all', null, null), ('target', counted, target)) as part (kind, model, target)
  cross join rollup_grains() as grain_s
  group by tenant_id, part.kind, grain_s, start, part.model, part.target, measure, length
  order by tenant_id collate "C", part.kind collate "C", grain_s, start, part.model collate "C",
           part.target collate "C", measure collate "C", length
  on conflict (tenant_id, kind, grain_s, at, model, target, measure, bucket) do update
  set calls = sums.calls + excluded.calls;
  return null;
end $$;

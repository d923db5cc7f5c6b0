-- What each user's attempts cost in a week (of seven days since the epoch, so that it begins on a Thursday), beside the
-- days of migration 0015: a report by user over months reads a row for each user and week. Kept as those are, from the
-- same sums, and in the same order by all: weeks before days.

-- No shipper writes until the end of this migration; their journals hold what comes meanwhile.
lock table spans, ledger_entries in share row exclusive mode;

create table user_weeks (like user_days) with (fillfactor = 70);
create unique index user_weeks_key on user_weeks (tenant_id, at, name) nulls not distinct;

create or replace function roll_up_users() returns trigger language plpgsql as $$
begin
  with daily as materialized (
    select tenant_id, rollup_start(86400, at) as day, user_id,
           count(*) filter (where attempt = 0 or not exists (
             select from ledger_entries earlier
             where earlier.tenant_id = added.tenant_id and earlier.at = added.at and earlier.call_id = added.call_id
               and earlier.attempt < added.attempt)) as calls,
           count(*) filter (where cost_nanousd is null and (attempt = 0 or not exists (
             select from ledger_entries earlier
             where earlier.tenant_id = added.tenant_id and earlier.at = added.at and earlier.call_id = added.call_id
               and earlier.attempt < added.attempt and earlier.cost_nanousd is null))) as unknown_calls,
           count(*) filter (where estimated) as estimated_attempts,
           count(*) filter (where unconfirmed) as unconfirmed_attempts,
           coalesce(sum(input_tokens), 0) as input_tokens, coalesce(sum(output_tokens), 0) as output_tokens,
           coalesce(sum(cost_nanousd), 0) as cost_nanousd
    from added
    group by tenant_id, day, user_id
    order by tenant_id collate "C", day, user_id collate "C"
  ), days as (
    insert into user_days as sums
    select * from daily
    on conflict (tenant_id, at, name) do update
    set calls = sums.calls + excluded.calls,
        unknown_calls = sums.unknown_calls + excluded.unknown_calls,
        estimated_attempts = sums.estimated_attempts + excluded.estimated_attempts,
        unconfirmed_attempts = sums.unconfirmed_attempts + excluded.unconfirmed_attempts,
        input_tokens = sums.input_tokens + excluded.input_tokens,
        output_tokens = sums.output_tokens + excluded.output_tokens,
        cost_nanousd = sums.cost_nanousd + excluded.cost_nanousd
  )
  insert into user_weeks as sums
  select tenant_id, rollup_start(604800, day) as week, user_id, sum(calls), sum(unknown_calls), sum(estimated_attempts),
         sum(unconfirmed_attempts), sum(input_tokens), sum(output_tokens), sum(cost_nanousd)
  from daily
  group by tenant_id, week, user_id
  order by tenant_id collate "C", week, user_id collate "C"
  on conflict (tenant_id, at, name) do update
  set calls = sums.calls + excluded.calls,
      unknown_calls = sums.unknown_calls + excluded.unknown_calls,
      estimated_attempts = sums.estimated_attempts + excluded.estimated_attempts,
      unconfirmed_attempts = sums.unconfirmed_attempts + excluded.unconfirmed_attempts,
      input_tokens = sums.input_tokens + excluded.input_tokens,
      output_tokens = sums.output_tokens + excluded.output_tokens,
      cost_nanousd = sums.cost_nanousd + excluded.cost_nanousd;
  return null;
end $$;

alter table user_weeks enable row level security;
alter table user_weeks force row level security;
create policy one_tenant on user_weeks to backstay_app using (tenant_id = backstay_tenant())
  with check (tenant_id = backstay_tenant());
create policy all_tenants on user_weeks to backstay_system using (true) with check (true);
grant select on user_weeks to backstay_app;
grant select, insert, update on user_weeks to backstay_system;

-- What is there already is in the days.
set local role backstay_system;
insert into user_weeks
select tenant_id, rollup_start(604800, at), name, sum(calls), sum(unknown_calls), sum(estimated_attempts),
       sum(unconfirmed_attempts), sum(input_tokens), sum(output_tokens), sum(cost_nanousd)
from user_days
group by 1, 2, 3;
reset role;

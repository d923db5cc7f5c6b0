-- Why an attempt's answer was not used, said by the gateway that made it: retry, fallback, hedge, failed, cancelled,
-- shadow. Null: it was used, or was made before this was noted. Few are unused, so that reports of them read this index
-- alone. The second index finds the dearest calls of a time without reading the others.
-- No shipper writes until the end; the locks are taken in the order in which shippers take theirs.
lock table spans, ledger_entries in access exclusive mode;
alter table ledger_entries add column unused text;
create index ledger_unused on ledger_entries (tenant_id, at) include (unused, key_id, cost_nanousd)
  where unused is not null;
create index spans_dearest on spans (tenant_id, cost_nanousd desc, started_at desc, span_id desc)
  where kind = 'call' and cost_nanousd > 0;

-- What each user's attempts cost in a day, whatever their model, feature and key, so that a report by user alone over
-- months reads a row for each user and day. Parts of days come from the sums by user and all else. Kept as the sums of
-- migration 0003 are, and after them.
create table user_days (
  tenant_id            text collate "C" not null,
  at                   timestamptz not null,
  name                 text collate "C",
  calls                bigint not null,
  unknown_calls        bigint not null,
  estimated_attempts   bigint not null,
  unconfirmed_attempts bigint not null,
  input_tokens         bigint not null,
  output_tokens        bigint not null,
  cost_nanousd         bigint not null
) with (fillfactor = 70);
create unique index user_days_key on user_days (tenant_id, at, name) nulls not distinct;

create function roll_up_users() returns trigger language plpgsql as $$
begin
  insert into user_days as sums (tenant_id, at, name, calls, unknown_calls, estimated_attempts, unconfirmed_attempts,
                                 input_tokens, output_tokens, cost_nanousd)
  select tenant_id, rollup_start(86400, at) as start, user_id,
         count(*) filter (where attempt = 0 or not exists (
           select from ledger_entries earlier
           where earlier.tenant_id = added.tenant_id and earlier.at = added.at and earlier.call_id = added.call_id
             and earlier.attempt < added.attempt)),
         count(*) filter (where cost_nanousd is null and (attempt = 0 or not exists (
           select from ledger_entries earlier
           where earlier.tenant_id = added.tenant_id and earlier.at = added.at and earlier.call_id = added.call_id
             and earlier.attempt < added.attempt and earlier.cost_nanousd is null))),
         count(*) filter (where estimated), count(*) filter (where unconfirmed), coalesce(sum(input_tokens), 0),
         coalesce(sum(output_tokens), 0), coalesce(sum(cost_nanousd), 0)
  from added
  group by tenant_id, start, user_id
  order by tenant_id collate "C", start, user_id collate "C"
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

create trigger roll_up_users after insert on ledger_entries
  referencing new table as added for each statement execute function roll_up_users();

alter table user_days enable row level security;
alter table user_days force row level security;
create policy one_tenant on user_days to backstay_app using (tenant_id = backstay_tenant())
  with check (tenant_id = backstay_tenant());
create policy all_tenants on user_days to backstay_system using (true) with check (true);
grant select on user_days to backstay_app;
grant select, insert, update on user_days to backstay_system;

-- What is there already is in the sums by user, model, feature and key, which add up to these.
set local role backstay_system;
insert into user_days
select tenant_id, at, name, sum(calls), sum(unknown_calls), sum(estimated_attempts), sum(unconfirmed_attempts),
       sum(input_tokens), sum(output_tokens), sum(cost_nanousd)
from cost_rollups where kind = 'user' and grain_s = 86400
group by tenant_id, at, name;
reset role;

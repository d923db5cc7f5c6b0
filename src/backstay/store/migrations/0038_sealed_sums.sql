-- Sums of stretches of time that are over, made once of what triggers keep, so that a shipped call pays nothing for them:
-- of users by week and by four weeks, and of users and tags at once by hour, day, week and four weeks. They stand in
-- the order in which they are read. Whoever inserts an entry says which stretches it is in, and one that was sealed is so
-- no more, until it is made anew. Reasons and costs: docs/decisions/0037.

-- No shipper writes until the end of this migration; their journals hold what comes meanwhile.
lock table spans, ledger_entries in share row exclusive mode;

-- Stretches that have entries, by their length, and whether `sealed_sums` holds what these add up to.
create table sealed_stretches (
  tenant_id text collate "C" not null,
  grain_s   int not null,
  at        timestamptz not null,
  is_sealed boolean not null default false,
  primary key (tenant_id, grain_s, at)
);
create index sealed_stretches_due on sealed_stretches (grain_s, at, tenant_id) where not is_sealed;

-- Of kind 'user': by user and all else, as in `cost_rollups`; 'user_alone': by user and nothing else; 'tag_user': by tag and
-- user. Where a kind does not tell a thing apart, it is null.
create table sealed_sums (
  tenant_id            text collate "C" not null,
  kind                 text collate "C" not null check (kind in ('user', 'user_alone', 'tag_user')),
  grain_s              int not null,
  at                   timestamptz not null,
  name                 text collate "C",
  tag                  text collate "C",
  model                text collate "C",
  target               text collate "C",
  feature              text collate "C",
  key_id               text collate "C",
  calls                bigint not null,
  target_calls         bigint,
  unknown_calls        bigint not null,
  target_unknown_calls bigint,
  estimated_attempts   bigint not null,
  unconfirmed_attempts bigint not null,
  input_tokens         bigint not null,
  output_tokens        bigint not null,
  cost_nanousd         bigint not null
);
create index sealed_sums_key on sealed_sums (tenant_id, kind, grain_s, at, name);
create index sealed_sums_dearest on sealed_sums (tenant_id, kind, grain_s, at, cost_nanousd desc) include (name)
  where kind = 'user_alone';

create function sealed_grains() returns setof int language sql immutable parallel safe rows 4
  as $$ values (3600), (86400), (604800), (2419200) $$;

-- An hour is sealed a quarter of an hour after it is over, at the earliest, and whoever ships is cut after seconds. So
-- entries of this hour need no lock; those of earlier ones wait for who seals their tenant's hours, and are waited for.
create function note_stretches() returns trigger language plpgsql as $$
declare
  this_hour timestamptz := rollup_start(3600, now());
begin
  perform pg_advisory_xact_lock_shared(hashtext('backstay.seal'), hashtext(tenant_id))
  from (select distinct tenant_id from added where at < this_hour order by 1) late;
  insert into sealed_stretches (tenant_id, grain_s, at)
  select distinct tenant_id, grain_s, rollup_start(grain_s, hour) as start
  from (select distinct tenant_id, rollup_start(3600, at) as hour from added) hours
  cross join sealed_grains() as grains (grain_s)
  where not exists (
    select from sealed_stretches noted
    where noted.tenant_id = hours.tenant_id and noted.grain_s = grains.grain_s
      and noted.at = rollup_start(grains.grain_s, hours.hour) and not noted.is_sealed)
  order by tenant_id, grain_s, start
  on conflict (tenant_id, grain_s, at) do update set is_sealed = false;
  return null;
end $$;

create trigger unseal after insert on ledger_entries
  referencing new table as added for each statement execute function note_stretches();

do $$
declare
  name text;
begin
  foreach name in array array['sealed_sums', 'sealed_stretches'] loop
    execute format('alter table %I enable row level security', name);
    execute format('alter table %I force row level security', name);
    execute format('create policy one_tenant on %I to backstay_app using (tenant_id = backstay_tenant()) '
                   'with check (tenant_id = backstay_tenant())', name);
    execute format('create policy all_tenants on %I to backstay_system using (true) with check (true)', name);
    execute format('grant select on %I to backstay_app', name);
    execute format('grant select, insert, update, delete on %I to backstay_system', name);
  end loop;
end $$;

-- What is there already is sealed afterwards, a stretch at a time.
set local role backstay_system;
insert into sealed_stretches (tenant_id, grain_s, at)
select distinct tenant_id, grain_s, rollup_start(grain_s, hour)
from (select distinct tenant_id, at as hour from cost_rollups where kind = 'all' and cost_rollups.grain_s = 3600) hours
cross join sealed_grains() as grain_s;
reset role;

-- What workers know of the targets' health, for people and for one another. A target belongs to the installation and
-- not to a tenant, so these two tables have no tenant, and only the system role sees them.

create unlogged table target_states (
  worker text not null,
  target text not null,
  state  jsonb not null,
  at     timestamptz not null default now(),
  primary key (worker, target)
);

create table target_drains (
  target  text primary key,
  by_whom text not null,
  at      timestamptz not null default now()
);

alter table target_states enable row level security;
alter table target_states force row level security;
alter table target_drains enable row level security;
alter table target_drains force row level security;
create policy all_tenants on target_states to backstay_system using (true) with check (true);
create policy all_tenants on target_drains to backstay_system using (true) with check (true);
grant select, insert, update, delete on target_states, target_drains to backstay_system;

-- Alerts: what somebody should know of, each once. An open alert is found by what it is about (kind, subject, threshold
-- and window), of which there is one at a time: however many processes raise it, one row comes of it. What is to be told
-- of it, and to whom, is a row of alert_deliveries, made in the same transaction and leased by who sends it.

create table alerts (
  tenant_id       text not null,
  alert_id        text not null,
  kind            text not null,
  subject         text not null,
  threshold       text not null default '',
  time_window     text not null default '',
  severity        text not null check (severity in ('info', 'warning', 'critical')),
  title           text not null,
  details         text[] not null default '{}',
  numbers         jsonb not null default '{}',
  link            text not null default '',
  state           text not null default 'open' check (state in ('open', 'resolved')),
  raised_at       timestamptz not null default now(),
  seen_at         timestamptz not null default now(),
  resolved_at     timestamptz,
  resolution      text,
  acknowledged_at timestamptz,
  acknowledged_by text,
  primary key (tenant_id, alert_id)
);
create unique index alerts_open on alerts (tenant_id, kind, subject, threshold, time_window) where state = 'open';
create index alerts_recent on alerts (tenant_id, raised_at desc, alert_id desc);

create table alert_deliveries (
  tenant_id   text not null,
  delivery_id text not null,
  alert_id    text not null,
  event       text not null check (event in ('raised', 'resolved')),
  channel     text not null,
  state       text not null default 'waiting' check (state in ('waiting', 'delivered', 'failed')),
  tries       int not null default 0,
  due_at      timestamptz not null default now(),
  error       text,
  created_at  timestamptz not null default now(),
  ended_at    timestamptz,
  primary key (tenant_id, delivery_id),
  foreign key (tenant_id, alert_id) references alerts on delete cascade
);
create unique index alert_deliveries_once on alert_deliveries (tenant_id, alert_id, event, channel);
create index alert_deliveries_due on alert_deliveries (due_at) where state = 'waiting';

do $$
declare
  name text;
begin
  foreach name in array array['alerts', 'alert_deliveries'] loop
    execute format('alter table %I enable row level security', name);
    execute format('alter table %I force row level security', name);
    execute format('create policy one_tenant on %I to backstay_app using (tenant_id = backstay_tenant()) '
                   'with check (tenant_id = backstay_tenant())', name);
    execute format('create policy all_tenants on %I to backstay_system using (true) with check (true)', name);
  end loop;
end $$;
grant select, insert, update, delete on alerts, alert_deliveries to backstay_app, backstay_system;

-- What alerts are made of is looked for every few seconds: usage without a price, budgets' current windows, and what a
-- call cost beyond what was reserved for it. The first and the last are rare, so that their indexes stay small.
-- In this order, shippers stand still at the ledger before they hold anything of budgets, and workers' syncs, which take
-- windows before postings, can end.
create index ledger_unpriced on ledger_entries (at) include (tenant_id, target)
  where cost_nanousd is null and input_tokens is not null;
create index budget_windows_current on budget_windows (ends_us);
create index budget_postings_uncovered on budget_postings (posted_at) where kind = 'charge' and source = 'free';

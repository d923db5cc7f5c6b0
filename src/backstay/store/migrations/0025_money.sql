-- How a budget's limit was given, with the rate that it was converted by, where that was not in US dollars: for people.
alter table budgets add column limit_given text;

-- What a vendor's bill differs by from the ledger, booked after somebody has looked: one posting for each line of a
-- comparison, from the vendor to the tenant's cost or back. Nothing is ever changed; the same file's line is booked once.
create table ledger_adjustments (
  tenant_id     text not null,
  adjustment_id text not null,       -- of the file and the line: day, key and model
  day           date not null,       -- UTC
  provider      text not null,
  vendor_key    text,
  model         text,
  source        text not null,       -- 'vendor:openai', 'cost'
  sink          text not null,
  amount        bigint not null check (amount > 0),
  causes        text[] not null,
  booked_at     timestamptz not null default now(),
  booked_by     text not null,
  primary key (tenant_id, adjustment_id)
);
create index ledger_adjustments_by_day on ledger_adjustments (tenant_id, day);
alter table ledger_adjustments enable row level security;
alter table ledger_adjustments force row level security;
create policy one_tenant on ledger_adjustments to backstay_app using (tenant_id = backstay_tenant())
  with check (tenant_id = backstay_tenant());
create policy all_tenants on ledger_adjustments to backstay_system using (true) with check (true);
grant select on ledger_adjustments to backstay_app, backstay_system;
grant insert on ledger_adjustments to backstay_system;

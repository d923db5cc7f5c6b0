-- How each window of a budget was spent over time, added up as fine as it is drawn, so that a page reads some hundred sums
-- where it read each posting. A trigger keeps them: whoever inserts, in whatever version, in the same transaction. Who
-- adds to a window's sums holds the window's lock or takes it next, in the same order as others.
-- Reasons and costs: docs/decisions/0026-burns-of-budgets.md.

-- Nobody books until the end of this migration: workers go on with what they have leased, journals keep the calls. A
-- worker's exchange with the book begins with its holder, a shipment with the postings: in this order neither is waited for
-- with something in hand that it needs.
lock table budget_holders, budget_postings, budget_windows, budget_leases in access exclusive mode;

-- When a window was made. A lifetime begins here, and is added up the more coarsely the older it is.
alter table budget_windows add column opened_us bigint;
set local role backstay_system;
update budget_windows set opened_us = starts_us;
update budget_windows w set opened_us = (extract(epoch from first_at) * 1000000)::bigint
from (
  select tenant_id, budget_id, subject, starts_us, min(posted_at) as first_at from budget_postings group by 1, 2, 3, 4
) first
where (w.tenant_id, w.budget_id, w.subject, w.starts_us)
    = (first.tenant_id, first.budget_id, first.subject, first.starts_us);
reset role;
alter table budget_windows alter column opened_us set default budgets_now_us(),
                           alter column opened_us set not null;

-- When what a holder has of a window last changed.
alter table budget_leases add column moved_at timestamptz not null default now();

create table budget_burns (
  tenant_id text not null,
  budget_id text not null,
  subject   text not null,
  starts_us bigint not null,
  at_us     bigint not null,
  amount    bigint not null check (amount > 0),
  primary key (tenant_id, budget_id, subject, starts_us, at_us)
) with (fillfactor = 50);
alter table budget_burns enable row level security;
alter table budget_burns force row level security;
create policy one_tenant on budget_burns to backstay_app using (tenant_id = backstay_tenant())
  with check (tenant_id = backstay_tenant());
create policy all_tenants on budget_burns to backstay_system using (true) with check (true);
grant select on budget_burns to backstay_app;
grant select, insert, update on budget_burns to backstay_system;

-- When the part of a window begins that a moment lies in. A window that ends has 48 equal parts, which are whole
-- microseconds, as it lasts whole minutes. The parts of a lifetime are at most a twelfth of its age at that moment, once
-- it is twelve minutes old. What was paid before a window, by a clock that is behind, is in its first part; what was
-- paid after it, in its last.
create function budget_part(starts_us bigint, ends_us bigint, opened_us bigint, at timestamptz) returns bigint
language sql immutable parallel safe as $$
  select case when ends_us = 9223372036854775807
    then opened_us + age_us / length_us * length_us
    else starts_us + least(47, greatest(0, at_us - starts_us) / ((ends_us - starts_us) / 48)) * ((ends_us - starts_us) / 48)
  end
  from (select (extract(epoch from at) * 1000000)::bigint as at_us) moment
  cross join lateral (select greatest(0, at_us - opened_us) as age_us) age
  cross join lateral (
    select 1000000 * case when age_us < 7200000000 then 60        -- minutes, up to two hours
                          when age_us < 43200000000 then 300      -- five minutes, up to half a day
                          when age_us < 172800000000 then 1800    -- half hours, up to two days
                          when age_us < 518400000000 then 7200    -- two hours, up to six days
                          when age_us < 2073600000000 then 21600  -- quarters of a day, up to 24 days
                          else 86400 end::bigint as length_us
  ) part
$$;

create function roll_up_burns() returns trigger language plpgsql as $$
begin
  if not exists (select from added where sink = 'spent') then
    return null;
  end if;
  insert into budget_burns as sums (tenant_id, budget_id, subject, starts_us, at_us, amount)
  select tenant_id, budget_id, subject, starts_us, budget_part(starts_us, ends_us, opened_us, posted_at) as at_us,
         sum(amount)
  from added join budget_windows using (tenant_id, budget_id, subject, starts_us)
  where sink = 'spent'
  group by 1, 2, 3, 4, 5
  order by tenant_id collate "C", budget_id collate "C", subject collate "C", starts_us, at_us
  on conflict (tenant_id, budget_id, subject, starts_us, at_us) do update set amount = sums.amount + excluded.amount;
  return null;
end $$;

create trigger roll_up after insert on budget_postings
  referencing new table as added for each statement execute function roll_up_burns();

create function budgets_lease_moved() returns trigger language plpgsql as $$
begin
  new.moved_at := now();
  return new;
end $$;
create trigger moved before update on budget_leases
  for each row when (new.amount <> old.amount) execute function budgets_lease_moved();

-- The calls that a window paid most for are found among its dearest postings: of what was reserved, and of what was not.
-- These stand in the place of the index that found all of a window's postings, which nobody reads any more.
create index budget_postings_dearest on budget_postings (tenant_id, budget_id, subject, starts_us, amount desc)
  where kind = 'charge' and source <> 'free';
create index budget_postings_dearest_uncovered on budget_postings (tenant_id, budget_id, subject, starts_us, amount desc)
  where kind = 'charge' and source = 'free';
drop index budget_postings_of;

-- What was paid already.
set local role backstay_system;
insert into budget_burns
select tenant_id, budget_id, subject, starts_us, budget_part(starts_us, ends_us, opened_us, posted_at), sum(amount)
from budget_postings join budget_windows using (tenant_id, budget_id, subject, starts_us)
where sink = 'spent'
group by 1, 2, 3, 4, 5;
reset role;

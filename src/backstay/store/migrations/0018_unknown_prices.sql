-- What a hard budget does with a call whose price nobody knows.
alter table budgets add column on_unknown_price text not null default 'refuse'
  check (on_unknown_price in ('refuse', 'bound'));

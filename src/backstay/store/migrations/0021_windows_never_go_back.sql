-- A clock that is set back, or another server's that is behind, brings no window of a budget back: what was left of it may
-- have been carried on, and workers have forgotten what they had of it. The later window goes on instead, unless it is
-- more than an hour ahead: that clock was wrong before, and a budget must not wait for it for days.
-- Rules: docs/decisions/0021-clocks-of-budgets.md.

create or replace function budgets_open(tenant text, budget text, subject_ text, limit_ bigint, span text, zone text,
                                        rollover boolean) returns budget_windows
language plpgsql as $$
declare
  window_ budget_windows;
  at timestamptz := clock_timestamp();
  bounds record := budget_span(span, zone, at);
  latest_us bigint := (extract(epoch from at) * 1000000)::bigint + 3600000000;
  left_over bigint := 0;
begin
  select * into window_ from budget_windows w
  where (w.tenant_id, w.budget_id, w.subject) = (tenant, budget, subject_)
    and w.starts_us between bounds.starts_us and greatest(bounds.starts_us, latest_us)
  order by w.starts_us desc limit 1 for update;
  if not found then
    if rollover then
      select greatest(0, least(w.limit_nanousd, w.limit_nanousd + w.carried - w.spent - w.granted)) into left_over
      from budget_windows w
      where (w.tenant_id, w.budget_id, w.subject) = (tenant, budget, subject_) and w.starts_us < bounds.starts_us
      order by w.starts_us desc limit 1;
    end if;
    insert into budget_windows (tenant_id, budget_id, subject, starts_us, ends_us, limit_nanousd, carried)
    values (tenant, budget, subject_, bounds.starts_us, bounds.ends_us, limit_, coalesce(left_over, 0))
    on conflict do nothing returning * into window_;
    if found then
      perform budgets_post(window_, 'allot', 'limit', 'free', limit_);
      perform budgets_post(window_, 'carry', 'limit', 'free', window_.carried);
    else
      select * into window_ from budget_windows w
      where (w.tenant_id, w.budget_id, w.subject, w.starts_us) = (tenant, budget, subject_, bounds.starts_us) for update;
    end if;
  end if;
  if window_.limit_nanousd <> limit_ then
    perform budgets_post(window_, 'allot', 'limit', 'free', limit_ - window_.limit_nanousd);
    perform budgets_post(window_, 'allot', 'free', 'limit', window_.limit_nanousd - limit_);
    update budget_windows w set limit_nanousd = limit_
    where (w.tenant_id, w.budget_id, w.subject, w.starts_us) = (tenant, budget, subject_, window_.starts_us)
    returning * into window_;
  end if;
  return window_;
end $$;

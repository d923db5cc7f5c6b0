-- Finding calls among millions. The first index holds what calls are filtered by and added up from, so that lists and
-- overviews read it alone; the others find the calls of one user, of one key, and those that did not go well.
drop index spans_calls;
create index spans_calls on spans (tenant_id, started_at desc, span_id desc)
  include (status, model, target, key_id, user_id, feature, tags, duration_ns, first_token_ns, input_tokens,
           output_tokens, cost_nanousd)
  where kind = 'call';
create index spans_of_user on spans (tenant_id, user_id, started_at desc, span_id desc)
  where kind = 'call' and user_id is not null;
create index spans_of_key on spans (tenant_id, key_id, started_at desc, span_id desc) where kind = 'call';
create index spans_not_ok on spans (tenant_id, started_at desc, span_id desc) where kind = 'call' and status <> 'ok';

-- Posts the bodies of a file, one per line, each under its own x-user-id; reports the run as one line of JSON.
-- wrk -s post.lua URL -- BODIES

local requests = {}
local turn = 0

function init(args)
  -- Requests are written out once: while the clock runs, Lua only steps through a table.
  for body in io.lines(args[1]) do
    local user = #requests + 1
    requests[user] = wrk.format("POST", nil, {
      ["Content-Type"] = "application/json",
      ["x-user-id"] = "user-" .. user,
    }, body)
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "duration_us": %d, "p50_us": %d, "p99_us": %d, "refused": %d, "lost": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end

-- Who counts, and since when. It stands before `ask.lua` and `enter.lua`.
--
-- A server that was restarted, with its data or without, and one that has taken another's place, may
-- know too little of what was spent. Each has a run id of its own, so it opens a new register, a hash:
--
-- `server`  its run id
-- `since`   when it did so, in microseconds
-- `at`      when a replica looked at it last: what the server knows is as young at least
-- `known`   that of the register before, if it is there still
-- `all`     there once all replicas have told it what they had spent before
-- `of:…`    of each replica that has: how many there are, as far as that one knows
local function register_at(key, now)
  -- Whoever may not ask has to do without: then only a server that has lost the register is another.
  local info = redis.pcall('INFO', 'server')
  local server = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or 'unknown'
  local found = redis.pcall('HMGET', key, 'server', 'since', 'known', 'all', 'at')
  local since = found[1] == server and tonumber(found[2])
  if since then return since, tonumber(found[3]) or 0, found[4] ~= false end
  local known = tonumber(found[5]) or 0
  redis.call('DEL', key)
  local opened = string.format('%.0f', now)
  redis.call('HSET', key, 'server', server, 'since', opened, 'known', string.format('%.0f', known))
  redis.call('PEXPIRE', key, 3600000)
  return now, known, false
end

-- Who counts, and since when. It stands before `ask.lua` and `enter.lua`.
--
-- A server that was restarted, with its data or without, and one that has taken another's place, may
-- know too little of what was spent. Each has a run id of its own, so it opens a new register, a hash:
--
-- `server`  its run id
-- `since`   when it did so, in microseconds
-- `at`      when a replica looked at it last: what the server knows is as young at least
-- `all`     there once all replicas have told it what they had spent before
-- `known`   up to when the last register that all have told knows
-- `of:…`    of each replica that has told: how many there were when it did so first, as far as that one
--           knows, and are by now; whether it is late; and when it said so last
--
-- So does a server that others have stood in for meanwhile: `met` is the register that the replica has
-- met last.
local function register_at(key, now, met)
  -- Whoever may not ask has to do without: then only a server that has lost the register is another.
  local info = redis.pcall('INFO', 'server')
  local server = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or 'unknown'
  local found = redis.pcall('HMGET', key, 'server', 'since', 'known', 'all', 'at')
  local since = found[1] == server and tonumber(found[2])
  local all, known = found[4] == '1', tonumber(found[3]) or 0
  if since and since >= met then return since, known, all end
  -- What has been told to a register that is not complete may be all that it lacks.
  if all then known = tonumber(found[5]) or known end
  redis.call('DEL', key)
  since = math.max(now, met + 1)
  local function text(time) return string.format('%.0f', time) end
  redis.call('HSET', key, 'server', server, 'since', text(since), 'known', text(known))
  redis.call('PEXPIRE', key, 3600000)
  return since, known, false
end

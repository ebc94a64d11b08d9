-- A replica looks at the register, or enters itself: it has told what it had spent before.
--
-- KEYS[1] is the register. ARGV:
--  1 replica  its id
--  2 there    how many replicas there are, as far as it knows; 0 if it does not
--  3 met      the register that it has met last, by its `since`; 0 for none
--  4 told     1 if it has told that one, 0 for a look
--  5 late     1 if it has spent by another register before
--  6 now      the time, for tests; otherwise there is none
--
-- Answer: `since`, and whether all have told.
local now, met = tonumber(ARGV[6]), tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local since, _, all = register_at(KEYS[1], now, met)
redis.call('HSET', KEYS[1], 'at', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], 3600000)
-- Replicas that are new and alone may have taken themselves for all there are.
if met == since and ARGV[4] == '1' and (not all or ARGV[5] == '1') then
  redis.call('HSET', KEYS[1], 'of:' .. ARGV[1], ARGV[2] .. ' ' .. string.format('%.0f', now))
  local fields, entered, there = redis.call('HGETALL', KEYS[1]), 0, 0
  for i = 1, #fields, 2 do
    if string.sub(fields[i], 1, 3) == 'of:' then
      local said, at = string.match(fields[i + 1], '^(%d+) (%d+)$')
      -- Each says so once a second. One that is gone stands in for nobody.
      if said and now - tonumber(at) <= 5000000 then
        entered, there = entered + 1, math.max(there, tonumber(said))
      else
        redis.call('HDEL', KEYS[1], fields[i])
      end
    end
  end
  all = entered >= there
  if all then redis.call('HSET', KEYS[1], 'all', 1) else redis.call('HDEL', KEYS[1], 'all') end
end
return {since, all and 1 or 0}

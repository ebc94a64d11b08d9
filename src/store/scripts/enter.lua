-- A replica looks at the register, or enters itself: it has told what it had spent before.
--
-- KEYS[1] is the register. ARGV:
--  1 replica  its id
--  2 there    how many replicas there are, as far as it knows; 0 if it does not
--  3 told     the register that it has told, by its `since`; 0 for a look
--  4 late     1 if it has spent by another register before
--  5 now      the time, for tests; otherwise there is none
--
-- Answer: `since`, and whether all have told.
local now = tonumber(ARGV[5])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local since, _, all = register_at(KEYS[1], now)
redis.call('HSET', KEYS[1], 'at', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], 3600000)
-- Replicas that are new and alone may have taken themselves for all there are.
if tonumber(ARGV[3]) == since and (not all or ARGV[4] == '1') then
  redis.call('HSET', KEYS[1], 'of:' .. ARGV[1], ARGV[2])
  local fields, entered, there = redis.call('HGETALL', KEYS[1]), 0, 0
  for i = 1, #fields, 2 do
    if string.sub(fields[i], 1, 3) == 'of:' then
      entered, there = entered + 1, math.max(there, tonumber(fields[i + 1]) or 0)
    end
  end
  all = entered >= there
  if all then redis.call('HSET', KEYS[1], 'all', 1) else redis.call('HDEL', KEYS[1], 'all') end
end
return {since, all and 1 or 0}

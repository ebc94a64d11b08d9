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
-- Late ones tell, whatever others have taken to be all there are.
if met == since and ARGV[4] == '1' and (not all or ARGV[5] == '1') then
  local field, there = 'of:' .. ARGV[1], tonumber(ARGV[2])
  local before = redis.call('HGET', KEYS[1], field)
  -- One that has come since then had nothing to tell, and is counted among those there are all the same.
  local first = before and tonumber(string.match(before, '^(%d+) ')) or there
  there = math.min(first, there)
  redis.call('HSET', KEYS[1], field, string.format('%d %d %s %.0f', first, there, ARGV[5], now))
  local fields, entered, most = redis.call('HGETALL', KEYS[1]), {0, 0}, {0, 0}
  for i = 1, #fields, 2 do
    if string.sub(fields[i], 1, 3) == 'of:' then
      local said, late, at = string.match(fields[i + 1], '^%d+ (%d+) ([01]) (%d+)$')
      -- Each says so once a second. One that is gone stands in for nobody.
      if said and now - tonumber(at) <= 5000000 then
        local kind = late == '1' and 1 or 2
        entered[kind], most[kind] = entered[kind] + 1, math.max(most[kind], tonumber(said))
      else
        redis.call('HDEL', KEYS[1], fields[i])
      end
    end
  end
  -- Where there are late ones, they are those who have something to tell.
  local kind = entered[1] > 0 and 1 or 2
  all = entered[kind] >= most[kind]
  if all then redis.call('HSET', KEYS[1], 'all', 1) else redis.call('HDEL', KEYS[1], 'all') end
end
return {since, all and 1 or 0}

-- One step of a reader: how far the stream is, and which replicas are alive.
--
-- KEYS[1]  the ledger of the stream, KEYS[2] the stream: see publish.lua
-- KEYS[3]  the members, a sorted set: the id of each replica, by the milliseconds at which it was
--          last heard of
-- ARGV[1]  the id of this replica
-- ARGV[2]  milliseconds for which a replica that says nothing is taken to be alive
-- ARGV[3]  milliseconds after which a stream that nobody uses is forgotten
-- ARGV[4]  what a new stream is to be called: random
--
-- Answers born, seq, the highest id of the stream so far, the time in milliseconds, and how many
-- replicas are alive.

local ledger, stream, members = KEYS[1], KEYS[2], KEYS[3]

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local born = redis.pcall('HGET', ledger, 'born')
if type(born) ~= 'string' then
    redis.call('DEL', ledger, stream)
    redis.call('HSET', ledger, 'born', ARGV[4], 'seq', 0)
    born = ARGV[4]
end
redis.call('PEXPIRE', ledger, ARGV[3])
redis.call('PEXPIRE', stream, ARGV[3])

local last = '0-0'
local info = redis.pcall('XINFO', 'STREAM', stream)
if not info.err then
    for i = 1, #info, 2 do
        if info[i] == 'last-generated-id' then
            last = info[i + 1]
        end
    end
end

-- Something else in its place is a stranger's.
if type(redis.pcall('ZADD', members, now, ARGV[1])) == 'table' then
    redis.call('DEL', members)
    redis.call('ZADD', members, now, ARGV[1])
end
-- The clock may have gone back: whoever is ahead of it is heard of again, or is not.
redis.call('ZREMRANGEBYSCORE', members, '-inf', now - ARGV[2])
redis.call('ZREMRANGEBYSCORE', members, string.format('(%.0f', now + ARGV[2]), '+inf')
redis.call('PEXPIRE', members, ARGV[3])

local seq = redis.call('HGET', ledger, 'seq')
return { born, tonumber(seq) or 0, last, now, redis.call('ZCARD', members) }

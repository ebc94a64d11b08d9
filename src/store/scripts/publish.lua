-- Appends events to the stream that all replicas read.
--
-- KEYS[1]  the ledger, a hash: `born`, which tells this stream from another one at the same place,
--          and `seq`, the number of the last entry
-- KEYS[2]  the stream; each entry has the fields born, seq and event
-- ARGV[1]  milliseconds after which entries are dropped
-- ARGV[2]  how many entries are kept at most
-- ARGV[3]  milliseconds after which a stream that nobody uses is forgotten
-- ARGV[4]  what a new stream is to be called: random
-- ARGV[5…] the events
--
-- Answers the number of the last entry.

local ledger, stream = KEYS[1], KEYS[2]

local function start_anew()
    redis.call('DEL', ledger, stream)
    redis.call('HSET', ledger, 'born', ARGV[4], 'seq', 0)
    return ARGV[4]
end

-- One without the other: readers would take the rest for all there was.
local born = redis.pcall('HGET', ledger, 'born')
if type(born) ~= 'string' then
    born = start_anew()
end

local function append(event)
    local seq = redis.call('HINCRBY', ledger, 'seq', 1)
    return redis.pcall('XADD', stream, '*', 'born', born, 'seq', seq, 'event', event)
end

for i = 5, #ARGV do
    local id = append(ARGV[i])
    if type(id) == 'table' and id.err then
        -- No memory, or no permission: it may be better later.
        if not (string.find(id.err, 'WRONGTYPE', 1, true) or string.find(id.err, 'stream', 1, true)) then
            redis.call('HINCRBY', ledger, 'seq', -1)
            return redis.error_reply(id.err)
        end
        -- Something else is in the stream's place, or an entry with the highest of all ids, behind
        -- which there is no room.
        born = start_anew()
        append(ARGV[i])
    end
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('XTRIM', stream, 'MINID', string.format('%.0f', now - ARGV[1]))
redis.call('XTRIM', stream, 'MAXLEN', '~', ARGV[2])
redis.call('PEXPIRE', ledger, ARGV[3])
redis.call('PEXPIRE', stream, ARGV[3])
return tonumber(redis.call('HGET', ledger, 'seq'))

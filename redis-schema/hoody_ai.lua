#!lua name=hoody_ai

-- Writes the registry of the Hoody AI gateway: each function changes all keys
-- of one container in one step, or nothing.  Redis 7.0 or later.
--
-- Most functions take the same keys, all of one host:
--
--   1 …:container:<name>      5 …:schema         8 …:index:version
--   2 …:containers            6 …:index:owners   9 …:index:source:<name>
--   3 …:ai:enabled            7 …:index:claims
--   4 …:events
--
-- and rename two more: 10 …:container:<new>, 11 …:index:source:<new>.  What
-- the keys hold is in schema.md, what the functions promise in REGISTRY.md.
--
-- Arguments are pairs.  "@now", "@if_version", "@source_version" and
-- "@enabled" say how to write, all others are fields and their values; an
-- empty value takes a field away.
--
-- A script that fails half-way leaves what it wrote.  So whatever can fail is
-- looked at before the first write: keys, types, rights, values.

local VERSION = 2
local SCHEMA = 2

local EVENTS_MAX = 100000
local SOURCE_KEPT_S = 604800   -- a week after the container went

local ADDRESSES_MAX = 16384
local PREFIXES_MAX = 256
local TAGS_MAX = 8192
local CGROUP_MAX = 4096
local VALUE_MAX = 1048576
local FIELDS_MAX = 256

local STATUS = {
    creating = true, running = true, paused = true, stopped = true,
    failed = true, deleted = true, copying = true, deleting = true,
    claiming = true
}

-- fields that only the functions write
local OWN = { version = true, updated_at = true, source_version = true,
              name = true }

-- while the library is loaded, redis has no call() yet
local function call(...)
    return redis.call(...)
end


-- Errors: the first word says which one, the rest is for that word.

local function fail(...)
    error({ hoody = table.concat({ ... }, ' ') })
end


-- A function as Redis calls it: errors of ours become replies.
local function entry(run)
    return function(keys, args)
        local ok, result = pcall(run, keys, args)

        if ok then
            return result
        end

        if type(result) == 'table' and result.hoody then
            return redis.error_reply(result.hoody)
        end

        if type(result) == 'table' and result.err then
            return redis.error_reply(result.err)
        end

        return redis.error_reply('ERR hoody_ai: ' .. tostring(result))
    end
end


-- Bytes of a caller in a message: short and printable.
local function shown(text)
    text = string.gsub(text, '[^%w%.:/@_-]', '?')
    return string.sub(text, 1, 64)
end


-- Numbers as digits: they may be longer than what a double holds.

local function is_digits(text, max)
    return #text >= 1 and #text <= max and string.find(text, '^%d+$') ~= nil
           and (text == '0' or string.byte(text) ~= 48)
end


local function less(a, b)
    if #a ~= #b then
        return #a < #b
    end

    return a < b
end


local function decimal(number)
    return string.format('%.0f', number)
end


-- Addresses.  As text: "4" or "6", the bytes in hex, "/", three digits of the
-- length of the prefix.  They sort by their first address, wide before narrow.
-- What is an address is the same as in common/hai_identity.c.

local function v4_hex(text)
    local a, b, c, d = string.match(text,
        '^(%d%d?%d?)%.(%d%d?%d?)%.(%d%d?%d?)%.(%d%d?%d?)$')

    if not a then
        return nil
    end

    local hex = ''

    for _, part in ipairs({ a, b, c, d }) do
        local value = tonumber(part)

        if value > 255 or (#part > 1 and string.byte(part) == 48) then
            return nil
        end

        hex = hex .. string.format('%02x', value)
    end

    return hex
end


-- Groups of up to four hex digits, each as four, and how many; nil where it is
-- something else.
local function v6_groups(text)
    local hex, n = '', 0

    if text == '' then
        return hex, n
    end

    for group in string.gmatch(text .. ':', '([^:]*):') do
        if not string.find(group, '^%x%x?%x?%x?$') then
            return nil
        end

        hex = hex .. string.rep('0', 4 - #group) .. string.lower(group)
        n = n + 1
    end

    return hex, n
end


local function v6_hex(text)
    local head, tail = string.match(text, '^(.*:)([^:]*%.[^:]*)$')

    if head then
        local hex = v4_hex(tail)

        if not hex then
            return nil
        end

        text = head .. string.sub(hex, 1, 4) .. ':' .. string.sub(hex, 5)
    end

    local at = string.find(text, '::', 1, true)

    if not at then
        local hex, n = v6_groups(text)
        return n == 8 and hex or nil
    end

    local left, nleft = v6_groups(string.sub(text, 1, at - 1))
    local right, nright = v6_groups(string.sub(text, at + 2))

    if not left or not right or nleft + nright > 7 then
        return nil
    end

    return left .. string.rep('0000', 8 - nleft - nright) .. right
end


-- The first bits of it, the rest filled with zeros or ones.
local function fill(hex, bits, ones)
    local whole = math.floor(bits / 4)
    local rest = bits % 4
    local text = string.sub(hex, 1, whole)

    if rest > 0 then
        local digit = tonumber(string.sub(hex, whole + 1, whole + 1), 16)
        local step = 2 ^ (4 - rest)

        digit = digit - digit % step
        text = text .. string.format('%x', ones and digit + step - 1 or digit)
    end

    return text .. string.rep(ones and 'f' or '0', #hex - #text)
end


local MAPPED = '00000000000000000000ffff'

local function address_claim(text)
    local host, length = string.match(text, '^([^/]*)/(.*)$')
    local family = '4'
    local hex, bits

    host = host or text

    if #host > 45 then
        return nil
    end

    if string.find(host, ':', 1, true) then
        family = '6'
        hex = v6_hex(host)
    else
        hex = v4_hex(host)
    end

    if not hex then
        return nil
    end

    if length then
        if #length > 3 or not is_digits(length, 3) then
            return nil
        end

        bits = tonumber(length)

        if bits == 0 or bits > #hex * 4 then
            return nil
        end
    else
        bits = #hex * 4
    end

    if family == '6' and bits > 96 and string.sub(hex, 1, 24) == MAPPED then
        family = '4'
        hex = string.sub(hex, 25)
        bits = bits - 96
    end

    if bits < #hex * 4 and fill(hex, bits, false) ~= hex then
        return nil
    end

    return family .. hex .. '/' .. string.format('%03d', bits)
end


-- All addresses of a field, and what is wrong with it, if anything.  The
-- answer is kept, for it is asked for twice in a row.
local asked, claimed, wrong_there

local function addresses_of(value)
    local n = 0

    if value == asked then
        return claimed, wrong_there
    end

    asked, claimed, wrong_there = value, {}, nil

    if #value > ADDRESSES_MAX then
        wrong_there = 'longer than ' .. ADDRESSES_MAX .. ' bytes'
        return claimed, wrong_there
    end

    for word in string.gmatch(value, '[^ ]+') do
        local claim = address_claim(word)

        if claim then
            n = n + 1
            claimed[n] = claim
        else
            wrong_there = wrong_there or shown(word) .. ' is no address'
        end
    end

    -- beyond its ceiling the container is not admitted at all
    if n > PREFIXES_MAX then
        claimed, wrong_there = {}, 'more than ' .. PREFIXES_MAX
    end

    return claimed, wrong_there
end


-- Fields.  Each check returns what is wrong, or nothing.

local function check_words(value, what, max, pattern)
    local n = 0

    for word in string.gmatch(value, '[^ ]+') do
        n = n + 1

        if not string.find(word, pattern) then
            return shown(word) .. ' is no ' .. what
        end
    end

    if n > max then
        return 'more than ' .. max
    end
end


local function check_amount(value)
    if #value > 18 or not string.find(value, '^%d+%.?%d*$') then
        return 'a number is wanted'
    end
end


local checks = {}

function checks.id(value)
    if #value ~= 24 or not string.find(value, '^[0-9a-f]+$') then
        return '24 lower case hex digits are wanted'
    end
end

function checks.number(value)
    if not is_digits(value, 100) then
        return 'digits without a leading zero are wanted'
    end
end

function checks.addresses(value)
    local _, wrong = addresses_of(value)

    return wrong
end

function checks.cgroup(value)
    if #value > CGROUP_MAX then
        return 'longer than ' .. CGROUP_MAX .. ' bytes'
    end

    if string.find(value, '%c') then
        return 'a control character'
    end

    if string.byte(value) ~= 47 then
        if string.find(value, '/', 1, true) or value == '.' or value == '..'
        then
            return 'an absolute path or one component is wanted'
        end

        return
    end

    for part in string.gmatch(string.sub(value, 2) .. '/', '([^/]*)/') do
        if part == '' or part == '.' or part == '..' then
            return 'an empty component or dots'
        end
    end
end

function checks.tags(value)
    if #value > TAGS_MAX then
        return 'longer than ' .. TAGS_MAX .. ' bytes'
    end

    if string.find(value, '%c') then
        return 'a control character'
    end
end

function checks.status(value)
    if not STATUS[value] then
        return 'there is no such status'
    end
end

function checks.mac(value)
    local byte = '%x%x'

    return check_words(value, 'MAC address', PREFIXES_MAX,
        '^' .. byte .. string.rep(':' .. byte, 5) .. '$')
end

function checks.host_interface(value)
    if string.find(value, '%c') then
        return 'a control character'
    end

    for word in string.gmatch(value, '[^ ]+') do
        if #word > 15 or word == '.' or word == '..'
           or string.find(word, '/', 1, true)
        then
            return shown(word) .. ' is no interface'
        end
    end
end

function checks.project_id(value)
    if #value > 100 or not string.find(value, '^[%w_-]+$') then
        return '1 to 100 of letters, digits, _ and - are wanted'
    end
end

function checks.created_at(value)
    if not is_digits(value, 15) then
        return 'milliseconds since 1970 are wanted'
    end
end

checks.updated_at = checks.created_at
checks.version = checks.created_at


local function wrong_name(field)
    if OWN[field] then
        return 'written by the functions only'
    end

    if #field > 64 or not string.find(field, '^[a-z][a-z0-9_]*$') then
        return 'no name of a field'
    end
end


local function wrong_value(field, value)
    if value == '' then
        return
    end

    if checks[field] then
        return checks[field](value)
    end

    if string.find(field, '^limit_') or string.find(field, '^budget_') then
        return check_amount(value)
    end

    if #value > VALUE_MAX then
        return 'longer than ' .. VALUE_MAX .. ' bytes'
    end
end


-- What a container claims for itself: "n<number>", "i<id>", and addresses
-- while it runs.  No value twice; what is not valid claims nothing.
local function claims_of(hash)
    local list, seen = {}, {}

    local function add(claim)
        if claim and not seen[claim] then
            seen[claim] = true
            list[#list + 1] = claim
        end
    end

    if hash.id and not checks.id(hash.id) then
        add('i' .. hash.id)
    end

    if hash.number and not checks.number(hash.number) then
        add('n' .. hash.number)
    end

    local running = not hash.status or hash.status == ''
                    or hash.status == 'running'

    if running and hash.addresses then
        for _, claim in ipairs((addresses_of(hash.addresses))) do
            add(claim)
        end
    end

    return list
end


-- Keys.

local NAMES = { 'container:', 'containers', 'ai:enabled', 'events', 'schema',
                'index:owners', 'index:claims', 'index:version',
                'index:source:', 'container:', 'index:source:' }

local TYPES = { 'hash', 'set', 'set', 'stream', 'string', 'zset', 'hash',
                'string', 'string', 'hash', 'string' }

local function is_name(text)
    return #text <= 100 and string.find(text, '^[%w_-]+$') ~= nil
end


-- Makes sure that these are the keys of one container of one host, so that no
-- caller mixes two of them up.
local function named(keys, n)
    if #keys ~= n then
        fail('INVALID', 'keys', n .. ' are wanted')
    end

    local prefix, name = string.match(keys[1],
        '^(hoody:{[^{}]+}:)container:(.*)$')

    if not prefix or not is_name(name) then
        fail('INVALID', 'name', '1 to 100 of letters, digits, _ and - are'
                                .. ' wanted')
    end

    local new

    if n > 9 then
        local start = #prefix + #NAMES[10]

        new = string.sub(keys[10], start + 1)

        if not is_name(new) then
            fail('INVALID', 'new_name', '1 to 100 of letters, digits, _ and -'
                                        .. ' are wanted')
        end
    end

    for i = 1, n do
        local key = prefix .. NAMES[i]

        if string.sub(key, -1) == ':' then
            key = key .. (i > 9 and new or name)
        end

        if keys[i] ~= key then
            fail('INVALID', 'keys', 'key ' .. i .. ' is another one')
        end
    end

    return name, new
end


local function typed(keys, but)
    for i = 1, #keys do
        local found = not but[i] and call('TYPE', keys[i]).ok or 'none'

        if found ~= 'none' and found ~= TYPES[i] then
            fail('WRONGKEY', keys[i], found)
        end
    end
end


local function right(command, ...)
    if not redis.acl_check_cmd(command, ...) then
        fail('NOPERM', 'the user may not', command)
    end
end


-- A caller who may do the one and not the other would stop half-way.
local function rights(keys)
    local user = keys[1]

    right('XADD', keys[4], '*', 'a', 'b')
    right('HSET', user, 'a', 'b')
    right('HDEL', user, 'a')
    right('DEL', user)
    right('SADD', keys[2], 'a')
    right('SREM', keys[2], 'a')
    right('SADD', keys[3], 'a')
    right('SREM', keys[3], 'a')
    right('ZADD', keys[6], '0', 'a')
    right('ZREM', keys[6], 'a')
    right('HSET', keys[7], 'a', 'b')
    right('HDEL', keys[7], 'a')
    right('SET', keys[8], 'a')
    right('SET', keys[9], 'a')
    right('EXPIRE', keys[9], '1')
    right('PERSIST', keys[9])
end


local function schema_of(keys, at)
    return call('GET', keys[at]) or '1'
end


local function fields_of(key)
    local flat = call('HGETALL', key)
    local hash = {}

    if #flat == 0 then
        return nil, 0
    end

    for i = 1, #flat, 2 do
        hash[flat[i]] = flat[i + 1]
    end

    return hash, #flat / 2
end


local function clock()
    local now = call('TIME')

    return tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
end


-- Versions begin with the time of the first write, so that those of a registry
-- that was emptied do not come again.
local VERSION_DIGITS = 14

local function version_of(hash)
    local version = hash and hash.version

    if not version or not is_digits(version, VERSION_DIGITS) then
        return '0'
    end

    return version
end


-- The version after this one: more than all before, also where the counter
-- was lost or is behind.  What a plain writer made up counts only while there
-- is room above it.
local function next_version(keys, hash)
    local counter = call('GET', keys[8])
    local base

    if counter and is_digits(counter, VERSION_DIGITS) then
        base = tonumber(counter)
    else
        base = clock()
    end

    local had = tonumber(version_of(hash))

    if had > base then
        base = had
    end

    if base + 1 >= 10 ^ VERSION_DIGITS then
        base = clock()
    end

    return decimal(base + 1)
end


-- The call's arguments: options and fields.
local function parsed(args, options)
    local how, fields, n = {}, {}, 0

    if #args % 2 ~= 0 then
        fail('INVALID', 'arguments', 'pairs are wanted')
    end

    for i = 1, #args, 2 do
        local name, value = args[i], args[i + 1]

        if string.sub(name, 1, 1) == '@' then
            if not options[name] or how[name] then
                fail('INVALID', shown(name), 'no option, or there twice')
            end

            how[name] = value

        else
            local wrong = wrong_name(name) or wrong_value(name, value)
                          or (fields[name] and 'there twice')

            if wrong then
                fail('INVALID', shown(name), wrong)
            end

            fields[name] = value
            n = n + 1
        end
    end

    for _, name in ipairs({ '@now', '@if_version', '@source_version' }) do
        local max = name == '@source_version' and 20 or 15

        if how[name] and (not is_digits(how[name], max) or how[name] == '0')
        then
            fail('INVALID', name, 'digits are wanted')
        end
    end

    if how['@enabled'] and how['@enabled'] ~= '0' and how['@enabled'] ~= '1'
    then
        fail('INVALID', '@enabled', '0 or 1 is wanted')
    end

    return how, fields, n
end


local OPTIONS = { ['@now'] = true, ['@if_version'] = true,
                  ['@source_version'] = true }
local MORE_OPTIONS = { ['@now'] = true, ['@if_version'] = true,
                       ['@source_version'] = true, ['@enabled'] = true }


-- The index: who has what.  Members of …:index:owners are "<claim> <name>"; a
-- prefix is there once more with a "p" in front.

local function is_prefix(claim)
    local kind = string.byte(claim)

    return (kind == 52 and string.sub(claim, -3) ~= '032')
           or (kind == 54 and string.sub(claim, -3) ~= '128')
end


-- How many bits two unequal texts of hex digits have in common.
local function common_bits(a, b)
    local n = 0

    while string.byte(a, n + 1) == string.byte(b, n + 1) do
        n = n + 1
    end

    local x = tonumber(string.sub(a, n + 1, n + 1), 16)
    local y = tonumber(string.sub(b, n + 1, n + 1), 16)
    local weight = 8

    n = n * 4

    while math.floor(x / weight) == math.floor(y / weight) do
        n = n + 1
        weight = weight / 2
    end

    return n
end


-- The first one but name among these members.
local function other(members, name)
    local own = ' ' .. name

    for _, member in ipairs(members) do
        if string.sub(member, -#own) ~= own then
            return string.match(member, ' (.*)$')
        end
    end
end


-- Somebody else's prefix around this claim.  Prefixes lie in one another or
-- apart: the nearest one before it is around it, or whatever is around it is
-- no longer than what the two have in common.
local function owner_around(key, claim, name)
    local kind = 'p' .. string.sub(claim, 1, 1)
    local hex, length = string.match(claim, '^.(%x+)/(%d+)$')
    local bits = tonumber(length)
    local last = '(p' .. claim .. ' '

    while true do
        local member = call('ZRANGE', key, last, '[' .. kind, 'BYLEX', 'REV',
            'LIMIT', '0', '1')[1]

        if not member then
            return nil
        end

        local there, there_length, owner = string.match(member,
            '^..(%x+)/(%d+) (.*)$')

        if not there then
            return nil
        end

        local there_bits = tonumber(there_length)

        if there_bits <= bits and fill(hex, there_bits, false) == there then
            if owner ~= name then
                return owner
            end

            last = '(' .. member

        else
            local common = common_bits(there, hex)

            if common == 0 then
                return nil
            end

            last = '(' .. kind .. fill(hex, common, false) .. '/'
                   .. string.format('%03d', common) .. '!'
        end
    end
end


-- The first one but name whose claim is this one, or lies in it or around it.
local function owner_of(key, claim, name)
    if not is_prefix(claim) then
        local found = other(call('ZRANGE', key, '[' .. claim .. ' ',
            '(' .. claim .. '!', 'BYLEX', 'LIMIT', '0', '2'), name)
        local kind = string.sub(claim, 1, 1)

        if found or kind == 'n' or kind == 'i' then
            return found
        end

        return owner_around(key, claim, name)
    end

    -- what starts between its first and its last address, and is not wider; of
    -- one container there are at most PREFIXES_MAX
    local hex, length = string.match(claim, '^.(%x+)/(%d+)$')

    return other(call('ZRANGE', key, '[' .. claim .. ' ',
        '(' .. string.sub(claim, 1, 1) .. fill(hex, tonumber(length), true)
        .. '0', 'BYLEX', 'LIMIT', '0', PREFIXES_MAX + 1), name)
        or owner_around(key, claim, name)
end


local KINDS = { i = 'id', n = 'number', ['4'] = 'addresses',
                ['6'] = 'addresses' }

-- A claim as people write it.
local function claim_text(claim)
    local kind = string.sub(claim, 1, 1)

    if kind == 'i' or kind == 'n' then
        return string.sub(claim, 2)
    end

    local hex, length = string.match(claim, '^.(%x+)/(%d+)$')
    local bits = tonumber(length)
    local parts = {}
    local size = kind == '4' and 2 or 4

    for i = 1, #hex, size do
        local value = tonumber(string.sub(hex, i, i + size - 1), 16)

        parts[#parts + 1] = string.format(size == 2 and '%d' or '%x', value)
    end

    local text = table.concat(parts, size == 2 and '.' or ':')

    if bits < #hex * 4 then
        text = text .. '/' .. decimal(bits)
    end

    return text
end


local function words_of(text)
    local list, set = {}, {}

    for word in string.gmatch(text or '', '[^ ]+') do
        list[#list + 1] = word
        set[word] = true
    end

    return list, set
end


-- What the index says of a container, as a list and as a set.
local function indexed(keys, name)
    return words_of(call('HGET', keys[7], name))
end


local function free_to_claim(keys, name, claims, had)
    for _, claim in ipairs(claims) do
        if not had[claim] then
            local owner = owner_of(keys[6], claim, name)

            if owner then
                fail('TAKEN', KINDS[string.sub(claim, 1, 1)],
                     claim_text(claim), owner)
            end
        end
    end
end


-- Lists go to Redis in pieces that Lua's stack holds.
local function zrem(key, members)
    for i = 1, #members, 500 do
        call('ZREM', key, unpack(members, i, math.min(i + 499, #members)))
    end
end


local function zadd(key, members)
    for i = 1, #members, 250 do
        local list = {}

        for j = i, math.min(i + 249, #members) do
            list[#list + 1] = '0'
            list[#list + 1] = members[j]
        end

        call('ZADD', key, unpack(list))
    end
end


local function members_of(claims, name, but)
    local members = {}

    for _, claim in ipairs(claims) do
        if not but or not but[claim] then
            members[#members + 1] = claim .. ' ' .. name

            if is_prefix(claim) then
                members[#members + 1] = 'p' .. claim .. ' ' .. name
            end
        end
    end

    return members
end


local function index(keys, name, had_list, had, claims)
    local now = {}

    for _, claim in ipairs(claims) do
        now[claim] = true
    end

    zrem(keys[6], members_of(had_list, name, now))
    zadd(keys[6], members_of(claims, name, had))

    if #claims > 0 then
        call('HSET', keys[7], name, table.concat(claims, ' '))
    else
        call('HDEL', keys[7], name)
    end
end


-- The writer's own counter.  True: this write is older than the last one.
local function is_old(keys, how, gone)
    local source = how['@source_version']
    local last = source and call('GET', keys[9])

    if not last or not is_digits(last, 20) then
        return false
    end

    -- of a deletion and a creation with one number the deletion stays
    return less(source, last) or (gone and source == last)
end


local function keep_source(keys, how, exists)
    local source = how['@source_version']

    if source and exists then
        call('SET', keys[9], source)
    elseif source then
        call('SET', keys[9], source, 'EX', SOURCE_KEPT_S)
    elseif exists then
        call('PERSIST', keys[9])
    else
        call('EXPIRE', keys[9], SOURCE_KEPT_S)
    end
end


local function now_of(how, hash)
    local now = how['@now'] and tonumber(how['@now']) or clock()
    local had = hash and hash.updated_at

    if had and is_digits(had, 15) and tonumber(had) >= now then
        now = tonumber(had) + 1
    end

    return decimal(now)
end


-- The first write of each call: a stream that takes nothing more ends it here.
local function tell(keys, op, name, version, hash, more)
    local event = { 'eid', 'registry-' .. version, 'type', 'registry',
                    'ts', decimal(clock()), 'container', name }

    if hash and hash.id and not checks.id(hash.id) then
        event[#event + 1] = 'container_id'
        event[#event + 1] = hash.id
    end

    for _, word in ipairs({ 'reason', op, 'op', op, 'version', version }) do
        event[#event + 1] = word
    end

    for _, word in ipairs(more or {}) do
        event[#event + 1] = word
    end

    call('XADD', keys[4], 'MAXLEN', '~', EVENTS_MAX, '*', unpack(event))
    call('SET', keys[8], version)
end


local function done(version, changed)
    return { 'ok', version, changed and 1 or 0 }
end


local function ignored(hash)
    return { 'ignored', version_of(hash), 0 }
end


-- What every write begins with.  Returns the container as it is.  An older
-- layout is good enough for who only takes something away.
local function begin(keys, n, takes_away)
    local name, new = named(keys, n)

    typed(keys, {})

    local schema = schema_of(keys, 5)
    local known = tostring(SCHEMA)

    if schema ~= known and not (takes_away and less(schema, known)) then
        fail('SCHEMA', shown(schema))
    end

    rights(keys)

    local hash, count = fields_of(keys[1])

    return name, hash, count, new
end


local function expect(how, hash)
    local version = version_of(hash)

    if how['@if_version'] and how['@if_version'] ~= version then
        fail('CONFLICT', version)
    end
end


-- Lists of names and values of a hash that exists or is to be.
local function store(key, fields)
    local set, del = {}, {}

    for field, value in pairs(fields) do
        if value == '' then
            del[#del + 1] = field
        else
            set[#set + 1] = field
            set[#set + 1] = value
        end
    end

    if #del > 0 then
        call('HDEL', key, unpack(del))
    end

    call('HSET', key, unpack(set))
end


local function create(keys, args)
    local name, hash = begin(keys, 9)
    local how, fields, n = parsed(args, MORE_OPTIONS)

    if hash then
        if is_old(keys, how, false) then
            return ignored(hash)
        end

        fail('EXISTS', name)
    end

    if how['@if_version'] then
        fail('CONFLICT', '0')
    end

    if is_old(keys, how, true) then
        return ignored(nil)
    end

    if not fields.id or fields.id == '' then
        fail('INVALID', 'id', 'a new container needs one')
    end

    if n > FIELDS_MAX then
        fail('INVALID', 'fields', 'more than ' .. FIELDS_MAX)
    end

    if not fields.status or fields.status == '' then
        fields.status = 'running'
    end

    local had_list, had = indexed(keys, name)
    local claims = claims_of(fields)

    free_to_claim(keys, name, claims, {})

    local version = next_version(keys)
    local now = now_of(how)

    fields.version = version
    fields.updated_at = now

    if not fields.created_at or fields.created_at == '' then
        fields.created_at = now
    end

    tell(keys, 'create', name, version, fields)
    store(keys[1], fields)
    index(keys, name, had_list, had, claims)
    call('SADD', keys[2], name)

    -- what was left of another one of this name opens nothing
    if how['@enabled'] == '1' then
        call('SADD', keys[3], name)
    else
        call('SREM', keys[3], name)
    end

    keep_source(keys, how, true)

    return done(version, true)
end


local CLAIMING = { 'id', 'number', 'addresses', 'status' }

-- What of the fields is another value than before; fields keeps only that.
-- Whether there is any, and whether one of them claims something.
local function differing(fields, hash, count)
    local changed, claiming = false, false

    if fields.id == '' then
        fail('INVALID', 'id', 'cannot be taken away')
    end

    for field, value in pairs(fields) do
        local had = hash[field]

        if value == (had or '') and (value ~= '' or not had) then
            fields[field] = nil
        else
            changed = true
            count = count + (had and 0 or 1)
        end
    end

    if count > FIELDS_MAX + 8 then
        fail('INVALID', 'fields', 'more than ' .. FIELDS_MAX)
    end

    for _, field in ipairs(CLAIMING) do
        claiming = claiming or fields[field] ~= nil
    end

    return changed, claiming
end


-- The claims of the container as it will be.
local function claims_after(fields, hash)
    local after = {}

    for _, field in ipairs(CLAIMING) do
        after[field] = fields[field] or hash[field]
    end

    return claims_of(after)
end


local function change(keys, args, op, only, options)
    local name, hash, count = begin(keys, 9)
    local how, fields = parsed(args, options)

    for field in pairs(fields) do
        if only and field ~= only then
            fail('INVALID', shown(field), 'not with this function')
        end
    end

    if only and not fields[only] then
        fail('INVALID', only, 'is missing')
    end

    if not hash then
        if is_old(keys, how, true) then
            return ignored(nil)
        end

        fail('NOTFOUND', name)
    end

    if is_old(keys, how, false) then
        return ignored(hash)
    end

    expect(how, hash)

    local changed, claiming = differing(fields, hash, count)
    local gate
    local enabled = call('SISMEMBER', keys[3], name) == 1

    if how['@enabled'] and (how['@enabled'] == '1') ~= enabled then
        gate = how['@enabled'] == '1' and 'SADD' or 'SREM'
        changed = true
    end

    if not changed then
        keep_source(keys, how, true)
        return done(version_of(hash), false)
    end

    local had_list, had, claims

    if claiming then
        had_list, had = indexed(keys, name)
        claims = claims_after(fields, hash)
        free_to_claim(keys, name, claims, had)
    end

    local version = next_version(keys, hash)

    fields.version = version
    fields.updated_at = now_of(how, hash)

    tell(keys, op, name, version, { id = fields.id or hash.id })
    store(keys[1], fields)

    if claiming then
        index(keys, name, had_list, had, claims)
    end

    call('SADD', keys[2], name)

    if gate then
        call(gate, keys[3], name)
    end

    keep_source(keys, how, true)

    return done(version, true)
end


local function update(keys, args)
    return change(keys, args, 'update', nil, MORE_OPTIONS)
end


local function set_addresses(keys, args)
    return change(keys, args, 'set_addresses', 'addresses', OPTIONS)
end


local function no_fields(fields)
    for field in pairs(fields) do
        fail('INVALID', shown(field), 'not with this function')
    end
end


local function switch(keys, args, op, command)
    local name, hash = begin(keys, 9, command == 'SREM')
    local how, fields = parsed(args, OPTIONS)

    no_fields(fields)

    if not hash and command == 'SADD' then
        fail('NOTFOUND', name)
    end

    if is_old(keys, how, not hash) then
        return ignored(hash)
    end

    if hash then
        expect(how, hash)
    end

    local enabled = call('SISMEMBER', keys[3], name) == 1

    if enabled == (command == 'SADD') then
        if hash then
            keep_source(keys, how, true)
        end

        return done(version_of(hash), false)
    end

    local version = next_version(keys, hash)

    tell(keys, op, name, version, hash)

    call(command, keys[3], name)

    if hash then
        call('HSET', keys[1], 'version', version, 'updated_at',
             now_of(how, hash))
        keep_source(keys, how, true)
    end

    return done(hash and version or '0', true)
end


local function enable(keys, args)
    return switch(keys, args, 'enable', 'SADD')
end


local function disable(keys, args)
    return switch(keys, args, 'disable', 'SREM')
end


local function delete(keys, args)
    local name, hash = begin(keys, 9, true)
    local how, fields = parsed(args, OPTIONS)

    no_fields(fields)

    if is_old(keys, how, false) then
        return ignored(hash)
    end

    if hash then
        expect(how, hash)
    end

    local had_list = indexed(keys, name)
    local left = call('SISMEMBER', keys[2], name)
                 + call('SISMEMBER', keys[3], name) + #had_list
    local version = '0'

    if hash or left > 0 then
        version = next_version(keys, hash)
        tell(keys, 'delete', name, version, hash)

        call('SREM', keys[3], name)
        call('DEL', keys[1])
        call('SREM', keys[2], name)
        index(keys, name, had_list, {}, {})
    end

    keep_source(keys, how, false)

    return done(version, version ~= '0')
end


-- Fields that are named are changed in the same step.
local function rename(keys, args)
    local name, hash, count, new = begin(keys, 11)
    local how, fields = parsed(args, MORE_OPTIONS)

    if name == new and how['@enabled'] then
        fail('INVALID', '@enabled', 'not without another name')
    end

    if name == new then
        no_fields(fields)
    end

    if not hash then
        fail('NOTFOUND', name)
    end

    -- nor does late news bring a name back that has gone since
    if is_old(keys, how, false) or is_old({ [9] = keys[11] }, how, true) then
        return ignored(hash)
    end

    expect(how, hash)

    if name == new then
        return done(version_of(hash), false)
    end

    if call('EXISTS', keys[10]) == 1 then
        fail('EXISTS', new)
    end

    right('RENAME', keys[1], keys[10])
    right('HSET', keys[10], 'a', 'b')
    right('HDEL', keys[10], 'a')
    right('SET', keys[11], 'a')

    local _, claiming = differing(fields, hash, count)
    local old_list, had = indexed(keys, name)
    local new_list, new_had = indexed(keys, new)
    local claims = claims_after(fields, hash)
    local enabled = call('SISMEMBER', keys[3], name) == 1

    if claiming then
        free_to_claim(keys, name, claims, had)
    end

    if how['@enabled'] then
        enabled = how['@enabled'] == '1'
    end

    local version = next_version(keys, hash)

    fields.version = version
    fields.updated_at = now_of(how, hash)

    tell(keys, 'rename', new, version, { id = fields.id or hash.id },
         { 'from', name })

    call('RENAME', keys[1], keys[10])
    store(keys[10], fields)
    index(keys, name, old_list, {}, {})
    index(keys, new, new_list, new_had, claims)
    call('SREM', keys[2], name)
    call('SADD', keys[2], new)
    call('SREM', keys[3], name)
    call(enabled and 'SADD' or 'SREM', keys[3], new)

    -- the new name goes on with the higher of both counters
    local source = how['@source_version'] or call('GET', keys[9])
    local there = call('GET', keys[11])

    keep_source(keys, { ['@source_version'] = source or nil }, false)

    if source and (not there or not is_digits(there, 20)
                   or less(there, source))
    then
        call('SET', keys[11], source)
    elseif there then
        call('PERSIST', keys[11])
    end

    return done(version, true)
end


-- What is wrong with one container, as pairs of a kind and a detail, and the
-- claims that its fields make.  Changes nothing.  "at" is what the shared keys
-- say: listed, enabled, claims, counter.
local function problems_of(keys, name, at)
    local found = {}

    local function add(kind, detail)
        found[#found + 1] = kind
        found[#found + 1] = detail
    end

    local kind = call('TYPE', keys[1]).ok
    local hash = nil

    if kind == 'hash' then
        hash = fields_of(keys[1])
    elseif kind ~= 'none' then
        add('wrong_type', 'the key of the container is a ' .. kind)
    end

    local claims = hash and claims_of(hash) or {}
    local had_list, had = words_of(at.claims)
    local source = call('TYPE', keys[9]).ok

    if hash then
        if not at.listed then
            add('not_listed', 'a container that is not in the list')
        end

        for field, value in pairs(hash) do
            local wrong = wrong_value(field, value)

            if wrong and field ~= 'version' then
                add('bad_field', shown(field) .. ': ' .. wrong)
            end
        end

        if not hash.id then
            add('bad_field', 'id: is missing')
        end

        local version = version_of(hash)

        if version == '0' then
            add('no_version', 'written by somebody else than the functions')
        end

        if not is_digits(at.counter, VERSION_DIGITS)
           or less(at.counter, version)
        then
            add('version_counter', 'is behind the version of this container')
        end

    elseif kind == 'none' then
        if at.listed then
            add('listed_without_hash', 'is in the list, but is no container')
        end

        if at.enabled then
            add('enabled_without_hash', 'AI is on for what is no container')
        end

        if source == 'string' and call('TTL', keys[9]) == -1 then
            add('leftover_source', 'a counter of a container that is gone')
        end
    end

    if source ~= 'none' and source ~= 'string' then
        add('bad_source', 'its counter is a ' .. source)
    end

    local drift = #had_list ~= #claims

    for _, claim in ipairs(claims) do
        drift = drift or not had[claim]
    end

    local members = members_of(claims, name)

    if not drift and #members > 0 then
        for _, score in ipairs(call('ZMSCORE', keys[6], unpack(members))) do
            drift = drift or not score
        end
    end

    if drift then
        add(hash and 'index_drift' or 'stale_index',
            'the index says something else')
    end

    return found, hash, claims, had_list
end


-- Looks at some containers at once, for the checker: after keys 2 to 8 come
-- keys 1 and 9 of each.  For each one: whether it exists, what it claims, and
-- pairs of a kind and a detail.
local function inspect(keys)
    local prefix = string.match(keys[1] or '', '^(hoody:{[^{}]+}:)containers$')
    local n = (#keys - 7) / 2
    local shared, names, result = {}, {}, {}

    if not prefix or n < 1 or n ~= math.floor(n) then
        fail('INVALID', 'keys', 'other ones are wanted')
    end

    for i = 2, 8 do
        shared[i] = keys[i - 1]

        if shared[i] ~= prefix .. NAMES[i] then
            fail('INVALID', 'keys', 'key ' .. (i - 1) .. ' is another one')
        end
    end

    -- the stream is not touched, and of the others problems_of() speaks
    typed({ false, unpack(shared, 2, 8) }, { [1] = true, [4] = true })

    for i = 1, n do
        local first = prefix .. NAMES[1]
        local name = string.sub(keys[6 + 2 * i], #first + 1)

        if keys[6 + 2 * i] ~= first .. name or not is_name(name)
           or keys[7 + 2 * i] ~= prefix .. NAMES[9] .. name
        then
            fail('INVALID', 'name', shown(name) .. ' is none')
        end

        names[i] = name
    end

    local listed = call('SMISMEMBER', shared[2], unpack(names))
    local enabled = call('SMISMEMBER', shared[3], unpack(names))
    local claims = call('HMGET', shared[7], unpack(names))
    local counter = call('GET', shared[8]) or '0'

    for i = 1, n do
        shared[1] = keys[6 + 2 * i]
        shared[9] = keys[7 + 2 * i]

        local found, hash, claim = problems_of(shared, names[i], {
            listed = listed[i] == 1, enabled = enabled[i] == 1,
            claims = claims[i], counter = counter
        })

        result[i] = { hash and 1 or 0, table.concat(claim, ' '),
                      unpack(found) }
    end

    return result
end


-- Puts right what is beyond doubt: places in sets without a container, a
-- missing place in the list, the index, versions.  Never opens the gate, never
-- changes a field that says who may what.  "@only" "index" leaves the sets
-- alone; "@orphan" is a member of the index that no container has.  Returns
-- what was put right, as inspect() names it.
local function repair(keys, args)
    local name = named(keys, 9)
    local only, orphans = nil, {}

    for i = 1, #args - 1, 2 do
        if args[i] == '@only' and args[i + 1] == 'index' then
            only = 'index'
        elseif args[i] == '@orphan'
               and string.sub(args[i + 1], -#name - 1) == ' ' .. name
        then
            orphans[#orphans + 1] = args[i + 1]
        else
            fail('INVALID', shown(args[i]), 'no option')
        end
    end

    typed(keys, { [1] = true, [9] = true })

    if less(tostring(SCHEMA), schema_of(keys, 5)) then
        fail('SCHEMA', shown(schema_of(keys, 5)))
    end

    rights(keys)

    local found, hash, claims, had_list = problems_of(keys, name, {
        listed = call('SISMEMBER', keys[2], name) == 1,
        enabled = call('SISMEMBER', keys[3], name) == 1,
        claims = call('HGET', keys[7], name),
        counter = call('GET', keys[8]) or '0'
    })
    local is, repaired = {}, {}

    for i = 1, #found, 2 do
        is[found[i]] = true
    end

    local function takes(kind)
        if is[kind] then
            repaired[#repaired + 1] = kind
        end

        return is[kind]
    end

    -- these are seen by others, so they are told
    local told = is.no_version
                 or (only ~= 'index'
                     and (is.not_listed or is.listed_without_hash
                          or is.enabled_without_hash))

    if told then
        local version = next_version(keys, hash)

        tell(keys, 'repair', name, version, hash)
        takes('no_version')
        takes('version_counter')

        if hash then
            call('HSET', keys[1], 'version', version)
        end

    elseif takes('version_counter') then
        call('SET', keys[8], version_of(hash))
    end

    if only ~= 'index' then
        if takes('not_listed') then
            call('SADD', keys[2], name)
        end

        if takes('enabled_without_hash') then
            call('SREM', keys[3], name)
        end

        if takes('listed_without_hash') then
            call('SREM', keys[2], name)
        end

        if takes('leftover_source') then
            call('EXPIRE', keys[9], SOURCE_KEPT_S)
        end

        if takes('bad_source') then
            call('DEL', keys[9])
        end
    end

    if is.index_drift or is.stale_index then
        takes('index_drift')
        takes('stale_index')
        index(keys, name, had_list, {}, claims)
    end

    local now = {}

    for _, member in ipairs(members_of(claims, name)) do
        now[member] = true
    end

    for _, orphan in ipairs(orphans) do
        if not now[orphan] and call('ZREM', keys[6], orphan) == 1 then
            repaired[#repaired + 1] = 'stale_index'
        end
    end

    return repaired
end


-- One container: whether it is enabled, its version, its fields and their
-- values.  Nothing where there is none.
local function get(keys)
    local name = named(keys, 9)
    local flat = call('HGETALL', keys[1])

    if #flat == 0 then
        return {}
    end

    local version = version_of({ version = call('HGET', keys[1], 'version')
                                           or nil })

    return { call('SISMEMBER', keys[3], name), version, unpack(flat) }
end


-- Keys: …:schema, …:containers, …:ai:enabled, …:index:owners,
-- …:index:claims.  Arguments: from and to.  From "empty" means that nothing is
-- there yet; to "1" drops the index, for it is built by the step to 2.
local function set_schema(keys, args)
    local from, to = args[1] or '', args[2] or ''
    local prefix = string.match(keys[1] or '', '^(hoody:{[^{}]+}:)schema$')

    if not prefix or #keys ~= 5 or keys[2] ~= prefix .. 'containers'
       or keys[3] ~= prefix .. 'ai:enabled'
       or keys[4] ~= prefix .. 'index:owners'
       or keys[5] ~= prefix .. 'index:claims'
    then
        fail('INVALID', 'keys', 'other ones are wanted')
    end

    if not is_digits(to, 9) or less(tostring(SCHEMA), to) then
        fail('INVALID', 'to', 'a layout that is known is wanted')
    end

    if call('TYPE', keys[1]).ok ~= 'string' and call('EXISTS', keys[1]) == 1
    then
        fail('WRONGKEY', keys[1], call('TYPE', keys[1]).ok)
    end

    local current = schema_of(keys, 1)

    if from == 'empty' then
        if call('EXISTS', unpack(keys)) > 0 then
            return { 'ok', current, 0 }
        end

    elseif from ~= current then
        fail('SCHEMA', shown(current))
    end

    right('SET', keys[1], 'a')
    right('DEL', keys[4])
    right('DEL', keys[5])

    call('SET', keys[1], to)

    if to == '1' then
        call('DEL', keys[4], keys[5])
    end

    return { 'ok', to, 1 }
end


local function library_version()
    return { VERSION, SCHEMA }
end


local function register(name, run, flags)
    redis.register_function({ function_name = 'hoody_ai_' .. name,
                              callback = entry(run), flags = flags })
end

register('create', create, {})
register('update', update, {})
register('set_addresses', set_addresses, {})
register('rename', rename, {})
register('enable', enable, {})
register('repair', repair, {})
register('set_schema', set_schema, {})

-- what takes access away works with a full memory too
register('disable', disable, { 'allow-oom' })
register('delete', delete, { 'allow-oom' })

register('get', get, { 'no-writes' })
register('inspect', inspect, { 'no-writes' })
register('version', library_version, { 'no-writes' })

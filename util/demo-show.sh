# What the demo shows, and whether it is so.  Sourced by util/run.
# shellcheck shell=bash
# shellcheck disable=SC2154  # "run" and the ports are util/run's

bold='' dim='' green='' red='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
fi

gate='hoody:{demo}:ai:enabled'
story='A container asks, the gateway proves who it is, adds the key and
passes the answer on while it is being made. The container never sees a key.'
failures=0
step=0


heading() {
    step=$((step + 1))
    printf '\n%s== %d  %s%s\n' "$bold" $step "$1" "$plain"
}

# a command as one would type it
command_line() {
    printf '%s$ %s%s\n' "$dim" "$1" "$plain"
}

# expect <what> <command>...: one line that says whether it is so
expect() {
    local what=$1
    shift

    if "$@" >/dev/null 2>&1; then
        printf '  %sok%s      %s\n' "$green" "$plain" "$what"
    else
        printf '  %sFAILED%s  %s\n' "$red" "$plain" "$what"
        failures=$((failures + 1))
    fi
}

# microseconds
now() {
    local t=$EPOCHREALTIME

    printf '%s' "${t/[.,]/}"
}

is_real() {
    [ -n "$(real_key_file "$1")" ]
}


# prepare <api> <words to say> [<ms between words>]: fills request=(...) with
# curl's arguments and "path" for a streamed answer; words have eight letters
# at most
prepare() {
    local api=$1 text=$2 delay=${3:-0} model more words

    request=(-H 'Content-Type: application/json')

    case $api in
        openai)
            path=/openai/v1/chat/completions
            model=${OPENAI_MODEL:-gpt-4o-mini}
            more='"stream_options":{"include_usage":true},'
            ;;
        anthropic)
            path=/anthropic/v1/messages
            model=${ANTHROPIC_MODEL:-claude-3-5-haiku-latest}
            more='"max_tokens":400,'
            request+=(-H 'anthropic-version: 2023-06-01')
            ;;
    esac

    # the sample cuts by bytes: with words of eight bytes each piece is a word
    if ! is_real "$api"; then
        # shellcheck disable=SC2086  # a list of words
        words=$(printf '%-8s' $text)
        request+=(-H "X-Sample-Text: $words" -H "X-Sample-Delay: $delay"
                  -H 'X-Sample-Chunk-Size: 8')
        text=Hello
    fi

    request+=(-d "{\"model\":\"$model\",\"stream\":true,$more\"messages\":\
[{\"role\":\"user\",\"content\":\"$text\"}]}")
}


# ask <i> <token> <output>: sends what was prepared; head and body to output
ask() {
    net_in "$1" curl -sS -i -N -m 120 "$(net_url)$path" \
        -H "Authorization: Bearer $2" "${request[@]}" >"$3" 2>&1
}

asked() {
    command_line "$(net_in_words "$1") -N $(net_url)$path \\
      -H 'Authorization: Bearer $2' ..."
}

# status <output>
status() {
    sed -n '1s,^HTTP/[0-9.]* \([0-9]*\).*,\1,p' "$1"
}

show_refusal() {
    sed -n -e '1s/^/  /p' -e '/^{/s/^/  /p' "$1" | tr -d '\r'
    printf '\n'
}


# show_stream [<n>]: shows a stream while it comes in, each piece with its
# time, and takes the access away after the n-th.  Leaves head, pieces, first,
# last, revoked and ended (microseconds), and last_event.
show_stream() {
    local line began revoke_after=${1:-0}

    # a JSON string, escapes and all
    local text='"(content|text)": ?"(([^"\\]|\\.)*)"'

    began=$(now)
    first=0 last=0 revoked=0 pieces=0 last_event='' head=''

    while IFS= read -r line; do
        line=${line%$'\r'}

        case $line in
            HTTP/*) head=$line ; printf '  %s\n' "$line" ;;
            [Cc]ontent-[Tt]ype:* | [Xx]-[Rr]equest-[Ii]d:*)
                printf '  %s\n' "$line" ;;
            'data: [DONE]') last_event=$line ;;
            data:*)
                last_event=$line
                if [[ $line =~ $text ]] && [ -n "${BASH_REMATCH[2]}" ]; then
                    last=$(now)
                    [ "$first" -ne 0 ] || first=$last
                    pieces=$((pieces + 1))
                    printf '  %s+%5d ms%s  %s\n' "$dim" \
                        $(((last - began) / 1000)) "$plain" \
                        "${BASH_REMATCH[2]}"

                    if [ $pieces -eq "$revoke_after" ]; then
                        revoke
                    fi
                fi
                ;;
            '{'*) printf '  %s\n' "$line" ;;
        esac
    done

    ended=$(now)
}

revoke() {
    command_line "redis-cli -s $run/redis/redis.sock SREM '$gate' dev-env"
    revoked=$(now)
    registry SREM "$gate" dev-env >/dev/null
}


show_answer() {
    local api=$1

    heading 'container-dev-env asks; the answer streams'
    prepare "$api" "Hello dev-env, this answer reaches you while it is \
still being made." 120
    asked 1 container-dev-env

    show_stream < <(net_in 1 curl -sS -i -N -m 120 "$(net_url)$path" \
        -H 'Authorization: Bearer container-dev-env' "${request[@]}" 2>&1)

    expect 'the answer is 200' [ "${head#* 200}" != "$head" ]
    expect "it came in $pieces pieces over $(((last - first) / 1000)) ms" \
        [ $pieces -ge 3 ]

    if ! is_real "$api"; then
        # the sample waits 120 ms before each of them
        expect 'each piece came when it was made' \
            [ $((last - first)) -ge $(((pieces - 1) * 100000)) ]
    fi
}


show_stolen() {
    heading 'the same token from another container'
    asked 2 container-dev-env
    ask 2 container-dev-env "$run/stolen" || true
    show_refusal "$run/stolen"

    expect 'it is refused: 401' [ "$(status "$run/stolen")" = 401 ]

    # nobody may learn which names exist
    ask 2 container-no-such-name "$run/unknown" || true
    expect 'a name that does not exist gets the same answer' \
        same_answer "$run/stolen" "$run/unknown"
    expect 'with its own token that container is answered' own_token
}

same_answer() {
    cmp <(sed -e '/^x-request-id:/Id' -e '/^request-id:/Id' -e '/^date:/Id' \
              -e 's/"request_id":"[^"]*"//' "$1") \
        <(sed -e '/^x-request-id:/Id' -e '/^request-id:/Id' -e '/^date:/Id' \
              -e 's/"request_id":"[^"]*"//' "$2")
}

own_token() {
    ask 2 container-second "$run/second" \
        && [ "$(status "$run/second")" = 200 ]
}


show_disabled() {
    heading 'a container whose AI is not enabled'
    asked 3 container-third
    ask 3 container-third "$run/disabled" || true
    show_refusal "$run/disabled"

    expect 'it is refused: 403' [ "$(status "$run/disabled")" = 403 ]
}


provider_says() {
    curl -sS --cacert "$run/ca.pem" \
        --resolve "api.openai.com:$provider_port:127.0.0.1" \
        "https://api.openai.com:$provider_port/_sample/$1"
}

show_received() {
    local api=$1 key=$2 caller

    heading 'what the provider received'
    command_line "curl --cacert $run/ca.pem \\
      --resolve api.openai.com:$provider_port:127.0.0.1 \\
      https://api.openai.com:$provider_port/_sample/requests"

    # the first request that this demonstration made
    provider_says requests >"$run/received"
    sed -n '1s/.*"requests":\[//; 1p; q' "$run/received" >"$run/first"

    grep -o '\["[^"]*","[^"]*"\]' "$run/first" \
        | sed -n 's/^\["\(.*\)","\(.*\)"\]$/  \1: \2/p'
    printf '\n'

    caller=$(grep -c 'container-' "$run/received" || true)
    expect 'the key was added (a made-up one, so it may be shown)' \
        grep -qF -- "$key" "$run/first"
    expect 'the token of the container did not leave the host' \
        [ "$caller" = 0 ]
    expect 'requests that were refused did not either' \
        grep -q '^{"total":2,' "$run/received"
    expect 'the key is in no file of nginx, logs included' no_key_in_files
}

no_key_in_files() {
    ! grep -rqF -e "$sample_openai" -e "$sample_anthropic" "$run/nginx"
}


# The second container has the tag that the rule is for
show_rule() {
    local api=$1

    heading 'a rule of the operator reaches every prompt of "prod" containers'
    command_line "cat $run/hoody.json"
    sed 's/^/  /' "$run/hoody.json"

    prepare "$api" 'Hello.'
    asked 2 container-second
    ask 2 container-second "$run/ruled" || true
    expect 'the answer is 200' [ "$(status "$run/ruled")" = 200 ]

    if ! is_real "$api"; then
        printf '\n  the prompt that the provider received:\n'
        provider_says requests >"$run/received"
        sed -n 's/.*\\"messages\\":\(\[[^]]*\]\).*/  \1/p' "$run/received" \
            | tail -n 1 | sed 's/\\"/"/g'
        expect 'the rule is in it' grep -qF -- "$guardrail" "$run/received"
    fi

    heading 'the rule engine hangs'
    command_line "kill -STOP $engine"
    kill -STOP "$engine"

    ask 2 container-second "$run/kept" || true
    expect 'what it has said already goes on to hold: 200' \
        [ "$(status "$run/kept")" = 200 ]

    path=${path/chat\/completions/completions}
    request=(-H 'Content-Type: application/json'
             -d '{"model":"another","max_tokens":1,"prompt":"Hello"}')
    asked 2 container-second
    ask 2 container-second "$run/unruled" || true
    show_refusal "$run/unruled"
    expect 'what it has not is refused: 503' \
        [ "$(status "$run/unruled")" = 503 ]

    command_line "kill -CONT $engine"
    kill -CONT "$engine"
    prepare "$api" 'Hello again.'
    ask 2 container-second "$run/ruled" || true
    expect 'then all is well again' [ "$(status "$run/ruled")" = 200 ]
}


# Takes the access away while the answer is on its way
show_revoked() {
    local api=$1

    heading 'access is taken away in the middle of an answer'
    prepare "$api" "This answer would go on for a while: one two three four \
five six seven eight nine ten eleven twelve thirteen fourteen fifteen." 150

    if is_real "$api"; then
        prepare "$api" 'Count from 1 to 100, separated by commas.'
    fi

    asked 1 container-dev-env

    show_stream 4 < <(net_in 1 curl -sS -i -N -m 120 "$(net_url)$path" \
        -H 'Authorization: Bearer container-dev-env' "${request[@]}" 2>&1)

    printf '  %s\n\n' "$last_event"

    expect "the stream ended $(((ended - revoked) / 1000)) ms after \
the command was given" [ $((ended - revoked)) -lt 1000000 ]
    expect 'its last event says why' \
        grep -q 'Access was taken away' <<<"$last_event"

    if ! is_real "$api"; then
        expect "the provider's request was aborted" aborted
    fi

    prepare "$api" 'Hello again.'
    ask 1 container-dev-env "$run/after" || true
    expect 'the next request is refused: 403' [ "$(status "$run/after")" = 403 ]

    registry SADD "$gate" dev-env >/dev/null
    ask 1 container-dev-env "$run/again" || true
    expect 'with access given back the next one is answered' \
        [ "$(status "$run/again")" = 200 ]
}

aborted() {
    hai_wait_for 'the abort' provider_aborts
}

provider_aborts() {
    provider_says stats | grep -q '"client_aborts":[1-9]'
}


# Returns 1 when anything was not as it should be
show_all() {
    local api=openai key=$sample_openai

    if is_real anthropic && ! is_real openai; then
        api=anthropic
        key=$sample_anthropic
    fi

    printf '%sHoody AI gateway%s\n%s\n\n' "$bold" "$plain" "$story"
    printf '  nginx              %s\n' "$(hai_nginx_version "$nginx")"
    printf '  gateway            %s\n' "$(net_url)"
    printf '  container-%-8s %s\n' dev-env "$(net_address 1)" \
        second "$(net_address 2)" third "$(net_address 3)"

    if is_real $api; then
        printf '  provider           https://api.%s.com\n' $api
    else
        printf '  provider           sample as api.%s.com, TLS verified\n' $api
    fi

    show_answer $api
    show_stolen
    show_disabled

    if is_real $api; then
        heading 'what the provider received'
        printf '  only %s can tell; the log of the gateway:\n' $api
        sed 's/^/  /' "$run/nginx/hoody-ai.log"
    else
        show_received $api "$key"
    fi

    show_rule $api
    show_revoked $api

    if [ $failures -gt 0 ]; then
        printf '\n%s%d of it FAILED%s\n' "$red" $failures "$plain"
        return 1
    fi

    printf '\n%sall of it worked%s\n' "$green" "$plain"
}


show_lines_to_try() {
    local sudo='' url cli chat messages entry='hoody:{demo}:container:dev-env'

    # the network namespaces and the sockets are root's
    if [ -n "${SUDO_USER:-}" ]; then
        sudo='sudo '
    fi

    url=$(net_url)
    cli="${sudo}redis-cli -s $run/redis/redis.sock"
    chat="{\"model\":\"${OPENAI_MODEL:-gpt-4o-mini}\",\"stream\":true,\
\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}"
    messages="{\"model\":\"${ANTHROPIC_MODEL:-claude-3-5-haiku-latest}\",\
\"max_tokens\":100,\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}"

    printf '\n%s== It stays up: try, in another terminal%s\n' "$bold" "$plain"

    cat <<END

# OpenAI's API and Anthropic's, from container-dev-env
$sudo$(net_in_words 1) -N $url/openai/v1/chat/completions \\
    -H 'Authorization: Bearer container-dev-env' \\
    -H 'Content-Type: application/json' -d '$chat'

$sudo$(net_in_words 1) $url/anthropic/v1/messages \\
    -H 'x-api-key: container-dev-env' -H 'anthropic-version: 2023-06-01' \\
    -H 'Content-Type: application/json' -d '$messages'

# from another container, or with another token
$sudo$(net_in_words 2) $url/openai/v1/models \\
    -H 'Authorization: Bearer container-dev-env'

# access on and off; the registry is plain Redis
$cli SADD '$gate' third
$cli SREM '$gate' dev-env
$cli HGETALL '$entry'
$cli HSET '$entry' status stopped
$cli HSET '$entry' status running

# rules; the engine takes up what you change (docs/RULES.md)
\$EDITOR $run/hoody.json
$programs/hoody-ai rules check $run/hoody.json
${sudo}$programs/hoody-ai rules status --socket $run/rules/rules.sock

# what the gateway notes, and what the provider has seen
tail -f $run/nginx/hoody-ai.log $run/nginx/error.log $run/rules/audit.jsonl
END

    if ! is_real openai || ! is_real anthropic; then
        cat <<END
curl -s --cacert $run/ca.pem \\
    --resolve api.openai.com:$provider_port:127.0.0.1 \\
    https://api.openai.com:$provider_port/_sample/requests
END
    fi

    printf '\nCtrl-C takes everything down.\n'
}

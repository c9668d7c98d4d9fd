# What hoody_ai_status shows.

# valgrind: yes

use lib 't/lib';
use Test::Nginx::Socket 'no_plan';
use HoodyAI;

no_shuffle();
run_tests();

__DATA__

=== TEST 1: a location of its own, without hoody_ai anywhere
--- hoody_http
--- config
    location = /status { hoody_ai_status; }
--- request
GET /status
--- response_headers
Content-Type: text/plain; version=0.0.4; charset=utf-8
--- response_body_like
\A# HELP hoody_ai_build_info .*
# TYPE hoody_ai_build_info gauge
hoody_ai_build_info\{version="[0-9.]+"\} 1
(?s:.*)
--- error_code: 200



=== TEST 2: HEAD has the size and no body
--- hoody_http
--- config
    location = /status { hoody_ai_status; }
--- request
HEAD /status
--- response_headers_like
Content-Length: [1-9]\d+
--- response_body:
--- error_code: 200



=== TEST 3: other methods
--- hoody_http
--- config
    location = /status { hoody_ai_status; }
--- request
POST /status
x
--- error_code: 405



=== TEST 4: JSON
--- hoody_http
--- config
    location = /status { hoody_ai_status; }
--- request
GET /status?format=json
--- response_headers
Content-Type: application/json
--- response_body_like: \A\{"version":.*"events":\{"queued":0,.*\}\}\n\z
--- error_code: 200



=== TEST 5: a zone is name and size
--- hoody_http
hoody_ai_zone meters;
--- config
    location = /status { hoody_ai_status; }
--- must_die
--- error_log
invalid zone "meters", it has to be name:size
--- no_check_leak



=== TEST 6: a zone has a least size
--- hoody_http
hoody_ai_zone meters:64k;
--- config
    location = /status { hoody_ai_status; }
--- must_die
--- error_log
zone "meters:64k" is too small
--- no_check_leak



=== TEST 7: one zone
--- hoody_http
hoody_ai_zone one:8m;
hoody_ai_zone two:8m;
--- config
    location = /status { hoody_ai_status; }
--- must_die
--- error_log
"hoody_ai_zone" directive is duplicate
--- no_check_leak

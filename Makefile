# The one door: every step of the project is a target here, "make help" lists
# them.  The work is done by the scripts in util/.

# The nginx to build for and to test with; empty: the installed one.  Another
# one than the distribution's needs its source too:
#   make NGINX=/opt/nginx/sbin/nginx NGINX_SRC=/usr/src/nginx-1.26.3
NGINX ?=
NGINX_SRC ?=
BUILD ?= build
FUZZ_TIME ?= 60
MODEL_TIME ?= 300

# absolute, because the dependency files name what they belong to
override BUILD := $(abspath $(BUILD))

PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
DESTDIR ?=

ifeq ($(origin CC),default)
CC = gcc
endif

CFLAGS ?= -O2 -g
WARNINGS = -Wall -Wextra -Werror -Wpointer-arith -Wstrict-prototypes \
    -Wmissing-prototypes -Wformat=2 -Wvla
# undefined first: the gcc of Ubuntu has a level of its own, and says so
HARDENING = -fstack-protector-strong -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 \
    -fPIE
HAI_CFLAGS = -std=gnu11 -Icommon -Ifcgi-backend $(WARNINGS) $(HARDENING) \
    $(CFLAGS) $(CPPFLAGS)
HAI_LDFLAGS = -pie -Wl,-z,relro -Wl,-z,now $(LDFLAGS)

# what the metric hoody_ai_build_info says
VERSION = $(shell sed -n \
    's/^\#define NGX_HTTP_HOODY_AI_VERSION  *"\(.*\)"/\1/p' \
    ngx_http_hoody_ai_module/ngx_http_hoody_ai_module.h)

# not as NGINX: a variable of that name makes nginx think that it was started
# by a binary upgrade, and stay in the foreground
unexport NGINX
export HAI_FOR_NGINX = $(NGINX)
export NGINX_SRC BUILD CC FUZZ_TIME


# Programs: one line each, and below its folder and its libraries.  Each
# one is given the objects of common/, and what it uses of fcgi-backend/lib/.

PROGRAMS = hoody-ai hoody-ai-rules hoody-ai-events hoody-ai-control \
    hoody-ai-sample-provider

hoody-ai-sample-provider_DIR = fcgi-backend/sample-provider
hoody-ai-sample-provider_LIBS = -ljansson -lssl -lcrypto

hoody-ai_DIR = fcgi-backend/cli
hoody-ai_LIBS = -lcurl -ljansson -lhiredis -lnftables -lcrypto -lpthread

hoody-ai-rules_DIR = fcgi-backend/rules
hoody-ai-rules_LIBS = -lfcgi -ljansson -lhiredis -lcrypto -lpthread

hoody-ai-events_DIR = fcgi-backend/events
hoody-ai-events_LIBS = -lcurl -ljansson -lhiredis -lcrypto -lpthread

hoody-ai-control_DIR = fcgi-backend/control
hoody-ai-control_LIBS = -lfcgi -lcurl -ljansson -lhiredis -lcrypto -lpthread


MODULE = $(BUILD)/ngx_http_hoody_ai_module.so
MODULE_SRCS = config $(wildcard ngx_http_hoody_ai_module/*.[ch]) \
    $(wildcard common/*.[ch])

# rewritten when another compiler or nginx is asked for: all is built again
ASKED = $(BUILD)/.asked
$(shell mkdir -p $(BUILD); echo '$(CC) $(NGINX) $(NGINX_SRC) $(CFLAGS)' \
    | cmp -s - $(ASKED) || echo '$(CC) $(NGINX) $(NGINX_SRC) $(CFLAGS)' \
    > $(ASKED))

COMMON_OBJS = $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard common/*.c))

# an archive, so that a program takes only what it needs, and its libraries
BACKEND = $(BUILD)/libhoody-ai.a
BACKEND_OBJS = $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard fcgi-backend/lib/*.c)) \
    $(BUILD)/obj/registry_library.o

UNIT_TESTS = $(patsubst tests/unit/%.c,$(BUILD)/unit/%, \
    $(wildcard tests/unit/test_*.c))
FUZZERS = $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%, \
    $(wildcard tests/fuzz/fuzz_*.c))
BENCHES = $(patsubst bench/%.c,$(BUILD)/bench/%,$(wildcard bench/*.c))


.PHONY: all setup build module programs run test test-unit test-t \
    test-system test-asan test-valgrind test-hup test-build test-fuzz \
    test-images model soak soak-asan bench bench-programs profiled fuzz lint \
    install uninstall dist clean help

all: build

build: module programs

module: $(MODULE)

programs: $(PROGRAMS:%=$(BUILD)/%)


$(MODULE): $(MODULE_SRCS) $(ASKED) util/build-module util/lib.sh
	@util/build-module $@ $(BUILD)/module-$(CC)

$(BUILD)/obj/%.o: %.c Makefile $(ASKED)
	@mkdir -p $(@D)
	$(CC) $(HAI_CFLAGS) -MMD -MP -c -o $@ $<

# the functions of the registry, as a string in the programs
$(BUILD)/registry_library.c: redis-schema/hoody_ai.lua Makefile
	@{ printf '#include "lib/registry_library.h"\n\n'; \
	   printf 'const char hai_registry_library[] =\n'; \
	   sed -e 's/[\\"]/\\&/g' -e 's/.*/    "&\\n"/' $<; \
	   printf '    "";\n'; } > $@

$(BUILD)/obj/registry_library.o: $(BUILD)/registry_library.c Makefile $(ASKED)
	@mkdir -p $(@D)
	$(CC) $(HAI_CFLAGS) -c -o $@ $<

# anew, so that nothing stays of a source that is gone
$(BACKEND): $(BACKEND_OBJS)
	@rm -f $@
	$(AR) rcs $@ $^

define PROGRAM
$(1)_OBJS = $$(patsubst %.c,$$(BUILD)/obj/%.o,$$(wildcard $$($(1)_DIR)/*.c))

$$(BUILD)/$(1): $$($(1)_OBJS) $$(COMMON_OBJS) $$(BACKEND)
	$$(CC) $$(CFLAGS) $$(HAI_LDFLAGS) -o $$@ $$^ $$($(1)_LIBS)

-include $$($(1)_OBJS:.o=.d)
endef

$(foreach program,$(PROGRAMS),$(eval $(call PROGRAM,$(program))))

-include $(COMMON_OBJS:.o=.d) $(BACKEND_OBJS:.o=.d)


# Unit tests, fuzzers and micro benchmarks say in their first lines what they
# are made of, see util/build-c.  Each one is a file of its own.

$(BUILD)/unit/%: tests/unit/%.c util/build-c
	@util/build-c unit $< $@

$(BUILD)/unit-asan/%: tests/unit/%.c util/build-c
	@SANITIZE=1 util/build-c unit $< $@

$(BUILD)/fuzz/%: tests/fuzz/%.c util/build-c
	@util/build-c fuzz $< $@

$(BUILD)/bench/%: bench/%.c util/build-c
	@util/build-c bench $< $@

-include $(wildcard $(BUILD)/unit/*.d $(BUILD)/unit-asan/*.d \
    $(BUILD)/fuzz/*.d $(BUILD)/bench/*.d)


setup:
	@util/setup

# a demonstration needs no test tool
run:
	@util/setup run
	@$(MAKE) --no-print-directory build
	@util/run demo

# all stages of util/test but "hup"; its last line is "N passed, N failed"
test: setup
	@util/test

test-unit:
	@util/test unit

test-t:
	@util/test t

test-system:
	@util/test system

test-asan:
	@ASAN_ALL=1 util/test asan

test-valgrind:
	@util/test valgrind

test-hup:
	@util/test hup

# the other ways to build: clang, nginx 1.26.3, static
test-build:
	@util/test build

test-fuzz:
	@util/test fuzz

# random changes and faults against a model, for longer than in "make test"
model: build
	@MODEL_TIME=$(MODEL_TIME) T=tests/nginx/model.t \
	    FILE_TIMEOUT=$$((2 * $(MODEL_TIME) + 300)) V=1 util/test system

# mixed load on everything, and what it holds in the end
soak: build
	@util/soak

soak-asan: build
	@util/soak asan

# docker/: minutes, and packages of their own ("util/setup images")
test-images: programs
	@util/test images

# rewrites bench/RESULTS.md; BENCH_TIME=500 BENCH_ROUNDS=3 for a quick look
bench:
	@util/setup bench
	@$(MAKE) --no-print-directory build bench-programs
	@util/bench

bench-programs: $(BENCHES)

# the module again, with a profile of itself; "make install" takes it then
profiled:
	@util/setup bench
	@$(MAKE) --no-print-directory build bench-programs
	@util/build-profiled $(MODULE)

fuzz: $(FUZZERS)
	@util/fuzz $(FUZZ_TIME)

lint:
	@util/lint


install: build
	@util/install "$(DESTDIR)" "$(PREFIX)" "$(SYSCONFDIR)" $(PROGRAMS)

uninstall:
	@util/install --remove "$(DESTDIR)" "$(PREFIX)" "$(SYSCONFDIR)" \
	    $(PROGRAMS)

# what git knows, nothing else
dist:
	@mkdir -p $(BUILD)
	git archive --format=tar.gz \
	    --prefix=hoody-ai-gateway-$(VERSION)/ \
	    -o $(BUILD)/hoody-ai-gateway-$(VERSION).tar.gz HEAD

clean:
	rm -rf $(BUILD)

help:
	@printf '%s\n' \
	    'make                build the module and the programs in build/' \
	    'make setup          install what a test run needs (root or sudo)' \
	    'make run            what a demonstration needs, build, and show it' \
	    'make test           setup, build, and every test but test-hup' \
	    'make test-unit      unit tests' \
	    'make test-t         Test::Nginx suites (T="t/x.t" for some of them)' \
	    'make test-system    whole-system tests (T="tests/nginx/x.t")' \
	    'make test-asan      the three above with ASAN and UBSAN' \
	    'make test-valgrind  a chosen part under valgrind' \
	    'make test-hup       t/ with reloads instead of restarts' \
	    'make test-build     clang, nginx 1.26.3, static' \
	    'make test-fuzz      every fuzzer for a few seconds' \
	    'make test-images    build and run what is in docker/' \
	    'make fuzz           every fuzzer for FUZZ_TIME=60 seconds' \
	    'make model          random changes and faults, MODEL_TIME=300 seconds' \
	    'make soak           mixed load, SOAK_TIME=600 seconds; and soak-asan' \
	    'make profiled       the module again, with a profile of itself (root)' \
	    'make bench          benchmarks' \
	    'make lint           style and static checks' \
	    'make install        DESTDIR=, PREFIX=/usr/local; and uninstall' \
	    'make dist           a source archive of the last commit' \
	    'make clean          remove build/' \
	    '' \
	    'NGINX=, NGINX_SRC=  another nginx than the installed one' \
	    'CC=clang            another compiler; V=1 shows its commands'

# Shell functions that the scripts of this folder share.  Sourced by bash.
# shellcheck shell=bash

HAI_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
HAI_BUILD=${BUILD:-$HAI_ROOT/build}

case $HAI_BUILD in
    /*) ;;
    *) HAI_BUILD=$HAI_ROOT/$HAI_BUILD ;;
esac

# The nginx that was asked for.  NGINX itself must not reach an nginx that is
# started here: it would take it for the list of inherited sockets.
HAI_FOR_NGINX=${HAI_FOR_NGINX:-${NGINX:-}}
unset NGINX

# what Debian compiles nginx and its modules with; undefined first, because the
# gcc of Ubuntu has a level of its own and warns
# shellcheck disable=SC2034  # read by the scripts that source this file
HAI_MODULE_CFLAGS='-g -O2 -fstack-protector-strong -Wdate-time
    -Wformat -Werror=format-security -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
    -fPIC'
HAI_MODULE_CFLAGS=$(printf '%s' "$HAI_MODULE_CFLAGS" | tr -s ' \n' ' ')
# shellcheck disable=SC2034  # as above
HAI_MODULE_LDFLAGS='-Wl,-z,relro -Wl,-z,now -fPIC'


hai_die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}


# sbin is not in the path of every user
hai_find_nginx() {
    PATH=$PATH:/usr/sbin:/usr/local/sbin command -v nginx || true
}


# nginx_version <binary>
hai_nginx_version() {
    "$1" -v 2>&1 | sed -n 's,^nginx version: [^/]*/\([0-9.]*\).*,\1,p'
}


# the flags of its configure, quoted for the shell
hai_nginx_arguments() {
    "$1" -V 2>&1 | sed -n 's/^configure arguments: //p'
}


# the version that a source says
hai_source_version() {
    sed -n 's/^#define NGINX_VERSION *"\(.*\)"/\1/p' "$1/src/core/nginx.h" \
        2>/dev/null || true
}


# hai_configure <nginx source> <object folder> <compiler> <flag>...
#
# Runs nginx's configure unless the folder was made by the same call.  Where
# only our file list changed, the generated headers keep their time, so that
# nginx itself is not compiled again; where anything else changed, the folder
# starts empty.
hai_configure() {
    local src=$1 objs=$2 cc=$3 base stamp header
    shift 3

    # the inode's time tells an upgrade of the package nginx-dev
    base=$({ printf '%s\n' "$src" "$cc" "$@"
             "$cc" --version
             stat -c %Z "$src/src/core/nginx.h"; } | sha256sum)
    stamp=$base$(sha256sum <"$HAI_ROOT/config")

    if [ -f "$objs/Makefile" ] \
        && [ "$stamp" = "$(cat "$objs/stamp" 2>/dev/null)" ]
    then
        return 0
    fi

    case $(cat "$objs/stamp" 2>/dev/null) in
        "$base"*) ;;
        *) rm -rf "$objs" && mkdir -p "$objs" ;;
    esac

    rm -f "$objs/stamp"

    for header in ngx_auto_config.h ngx_auto_headers.h; do
        if [ -f "$objs/$header" ]; then
            cp -p "$objs/$header" "$objs/$header.old"
        fi
    done

    if ! (cd "$src" && ./configure --with-cc="$cc" --builddir="$objs" "$@") \
        >"$objs/configure.log" 2>&1
    then
        sed -n '/error:/,$p' "$objs/configure.log" >&2
        hai_die "nginx's configure failed, see $objs/configure.log"
    fi

    for header in ngx_auto_config.h ngx_auto_headers.h; do
        if cmp -s "$objs/$header" "$objs/$header.old"; then
            mv "$objs/$header.old" "$objs/$header"
        fi
    done

    printf '%s\n' "$stamp" >"$objs/stamp"
}


# hai_quiet_make <nginx source> <object folder> <target>
hai_quiet_make() {
    local make=(make -f "$2/Makefile" -C "$1" -j "$(nproc)"
                --no-print-directory)

    # the jobs of an outer make are not for this one: it has its own -j
    if [ -n "${V:-}" ]; then
        # the output of a script may be the name of what it built
        MAKEFLAGS='' MFLAGS='' "${make[@]}" "$3" >&2
        return
    fi

    if ! MAKEFLAGS='' MFLAGS='' "${make[@]}" -s "$3" >"$2/make.log" 2>&1; then
        cat "$2/make.log" >&2
        hai_die "compiling failed"
    fi

    # only errors are worth the screen; gcc's notes about them came with them
    return 0
}


# Test::Nginx of OpenResty (nginx's own suite has one of the same name): an
# installed one, or the one that util/setup fetched
hai_has_test_nginx() {
    PERL5LIB=$(hai_perl5lib) perl -MTest::Nginx::Socket -e 1 2>/dev/null
}


hai_perl5lib() {
    printf '%s' "$HAI_BUILD/test-nginx/usr/share/perl5:\
$HAI_BUILD/test-nginx/usr/lib/perl5${PERL5LIB:+:$PERL5LIB}"
}


# A port that nobody listens on, outside of the range that outgoing
# connections are given.
hai_free_port() {
    perl -MIO::Socket::INET -e '
        for (1 .. 1000) {
            my $port = 10000 + int(rand(20000));
            my $s = IO::Socket::INET->new(Listen => 1,
                LocalAddr => "127.0.0.1", LocalPort => $port) or next;
            print $port;
            exit 0;
        }
        exit 1'
}


hai_port_open() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}


# hai_wait_for <what> <command>...: until it succeeds, ten seconds at most
hai_wait_for() {
    local what=$1 tries=0
    shift

    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        if [ $tries -gt 500 ]; then
            hai_die "$what did not start"
        fi
        sleep 0.02
    done
}

#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Private, throw-away instances of real servers for tests and benchmarks (Debian 12, no systemd, no docker).
#
#   services.sh names                  print the names there are
#   services.sh install NAME           install what NAME needs; fails with one line when that cannot be done
#   services.sh installed NAME         status 0 when all of that is there
#   services.sh [--durable] up NAME DIR
#                                      start NAME with all its state in DIR; print KEY=value lines when it is ready.
#                                      --durable, at the first `up`: as in production, PostgreSQL waits for the disk
#   services.sh env NAME DIR           print those lines again
#   services.sh signal NAME DIR SIG    send SIG to the server itself (STOP/CONT = hung, KILL = crashed)
#   services.sh down NAME DIR          stop it cleanly; the data stays in DIR, and `up` starts it again on the same ports
#   services.sh kill NAME DIR          end all its processes at once
#   services.sh ctl rabbitmq DIR ARG.. run rabbitmqctl (1-2 s a call) against the private node
#
# NAME is postgres, redis, rabbitmq or s3 (Ceph RADOS Gateway: mon + one memstore osd + radosgw).
# DIR is made if missing; one DIR per instance, e.g. "$(mktemp -d)/pg". Everything listens on 127.0.0.1 only.
# SERVICES_CONF at the first `up`: lines added to postgresql.conf or rabbitmq.conf, words added to redis-server's.
# SERVICES_TLS=1 at the first `up` adds a TLS port with a certificate for 127.0.0.1 and localhost.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
NAMES="postgres redis rabbitmq s3"

die() { echo "services.sh: $*" >&2; exit 1; }
PASS=secret

# What a server needs stands in packaging/apt-services.txt, one line for each.
packages() {
    case " $NAMES " in
    *" $1 "*) sed -n "s/^$1: *//p" "$ROOT/packaging/apt-services.txt" ;;
    *) die "unknown service '$1' ($NAMES)" ;;
    esac
}
installed() {
    local p
    for p in $(packages "$1"); do
        [ "$(dpkg-query -W -f '${Status}' "$p" 2>/dev/null)" = "install ok installed" ] || return 1
    done
}

open_port() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
free_port() { # below the kernel's ephemeral range, so that no outgoing connection takes it
    local p
    while :; do
        p=$((15000 + (RANDOM * 32768 + RANDOM) % 15000))
        open_port "$p" || { echo "$p"; return; }
    done
}
wait_for() { # SECONDS WHAT PID COMMAND...   gives up at once when PID is gone
    local n=$(($1 * 20)) what=$2 pid=$3; shift 3
    while ! "$@" >/dev/null 2>&1; do
        [ -z "$pid" ] || kill -0 "$pid" 2>/dev/null || die "$what ended while starting, see $DIR/log"
        n=$((n - 1)); [ $n -gt 0 ] || die "$what is not ready in time, see $DIR/log"
        sleep 0.05
    done
}
alive() { [ -s "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null && ! grep -q '^State:.*Z' "/proc/$(cat "$1")/status" 2>/dev/null; }
stop_pid() { # PIDFILE SIGNAL SECONDS
    local n=$(($3 * 20)) p
    [ -s "$1" ] || return 0
    p=$(cat "$1"); kill -CONT "$p" 2>/dev/null || true; kill "-$2" "$p" 2>/dev/null || true
    while kill -0 "$p" 2>/dev/null; do # also a zombie: an orphan is only gone when process 1 has reaped it
        n=$((n - 1)); [ $n -gt 0 ] || { alive "$1" && { echo "services.sh: $p does not stop, killing it" >&2; kill -KILL "$p"; sleep 0.2; }; break; }
        sleep 0.05
    done
    rm -f "$1"
}
# Run as USER when we are root and USER exists; HOME goes to DIR.
as() {
    local u=$1; shift
    if [ "$(id -u)" = 0 ] && id "$u" >/dev/null 2>&1; then
        HOME=$DIR setpriv --reuid "$u" --regid "$(id -g "$u")" --clear-groups "$@"
    else HOME=$DIR "$@"; fi
}
# A fresh mktemp -d is 0700: the server's own user must be able to pass through it.
reach() { # USER
    as "$1" test -x "$DIR" && return
    [ "$(dirname "$DIR")" = / ] || chmod a+x "$(dirname "$DIR")"
    as "$1" test -x "$DIR" || die "user $1 cannot reach $DIR: every folder above it needs chmod a+x"
}
own() { [ "$(id -u)" != 0 ] || ! id "$1" >/dev/null 2>&1 || chown -R "$1" "$2"; }
# Start a daemon that stays in the foreground; its pid goes to DIR/NAME.pid.
spawn() { # NAME USER COMMAND...
    local name=$1 user=$2; shift 2
    local drop=()
    if [ "$(id -u)" = 0 ] && id "$user" >/dev/null 2>&1; then
        drop=(setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups)
    fi
    HOME=$DIR setsid "${drop[@]}" "$@" </dev/null >>"$DIR/log/$name.out" 2>&1 &
    echo $! >"$DIR/$name.pid"
}
tls() { # USER: DIR/tls/{ca.crt,server.crt,server.key}
    local t=$DIR/tls
    [ ! -e "$t/server.key" ] || return 0
    mkdir -p "$t"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=test CA" \
        -keyout "$t/ca.key" -out "$t/ca.crt" 2>/dev/null
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=localhost" \
        -keyout "$t/server.key" -out "$t/server.csr" 2>/dev/null
    openssl x509 -req -in "$t/server.csr" -CA "$t/ca.crt" -CAkey "$t/ca.key" -CAcreateserial -days 30 \
        -extfile <(printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\n') -out "$t/server.crt" 2>/dev/null
    chmod 600 "$t/server.key"; own "$1" "$t"
}

setup() { # the ports are chosen once and kept in DIR/ports
    mkdir -p "$DIR/log"; DIR=$(cd "$DIR" && pwd); chmod a+x "$DIR"
    if [ ! -e "$DIR/ports" ]; then
        { for v in PORT TLS_PORT PORT2 PORT3 PORT4; do echo "$v=$(free_port)"; done
          echo "TLS=${SERVICES_TLS:-}"; echo "DURABLE=$DURABLE"; printf 'EXTRA=%q\n' "${SERVICES_CONF:-}"; } >"$DIR/ports"
    fi
    # shellcheck disable=SC1091 # made above
    . "$DIR/ports"
}

up_postgres() {
    local bin=/usr/lib/postgresql/15/bin
    reach postgres; own postgres "$DIR/log"
    if [ ! -e "$DIR/data/PG_VERSION" ]; then
        mkdir -p "$DIR/data"; echo $PASS >"$DIR/pw"; own postgres "$DIR/data"; own postgres "$DIR/pw"
        as postgres $bin/initdb -D "$DIR/data" -U app --pwfile="$DIR/pw" --auth=scram-sha-256 \
            -E UTF8 --locale=C.UTF-8 --no-sync >"$DIR/log/initdb.out" 2>&1 || die "initdb failed, see $DIR/log/initdb.out"
        cat >>"$DIR/data/postgresql.conf" <<X
listen_addresses = '127.0.0.1'
port = $PORT
unix_socket_directories = ''
max_connections = 200
shared_buffers = 64MB
$([ -n "$DURABLE" ] || printf 'fsync = off\nfull_page_writes = off')
${SERVICES_CONF:-}
X
        if [ -n "$TLS" ]; then
            tls postgres
            cat >>"$DIR/data/postgresql.conf" <<X
ssl = on
ssl_cert_file = '$DIR/tls/server.crt'
ssl_key_file = '$DIR/tls/server.key'
X
        fi
    fi
    spawn postgres postgres $bin/postgres -D "$DIR/data"
    wait_for 60 postgres "$(cat "$DIR/postgres.pid")" $bin/pg_isready -q -h 127.0.0.1 -p "$PORT"
    PGPASSWORD=$PASS psql -qAt -h 127.0.0.1 -p "$PORT" -U app postgres -c "select 1 from pg_database where datname='app'" |
        grep -q 1 || PGPASSWORD=$PASS psql -q -h 127.0.0.1 -p "$PORT" -U app postgres -c 'create database app'
    { echo "POSTGRES_URL=postgresql://app:$PASS@127.0.0.1:$PORT/app"
      [ -z "$TLS" ] || echo "POSTGRES_TLS_URL='postgresql://app:$PASS@127.0.0.1:$PORT/app?sslmode=verify-full&sslrootcert=$DIR/tls/ca.crt'"
    } >"$DIR/env"
}
down_postgres() { stop_pid "$DIR/postgres.pid" INT 20; } # INT = fast shutdown

up_redis() {
    local t=()
    reach redis; mkdir -p "$DIR/data"; own redis "$DIR/data"; own redis "$DIR/log"
    if [ -n "$TLS" ]; then
        tls redis
        t=(--tls-port "$TLS_PORT" --tls-cert-file "$DIR/tls/server.crt" --tls-key-file "$DIR/tls/server.key"
           --tls-ca-cert-file "$DIR/tls/ca.crt" --tls-auth-clients no)
    fi
    # shellcheck disable=SC2086 # words
    spawn redis redis redis-server --bind 127.0.0.1 --port "$PORT" --requirepass $PASS --dir "$DIR/data" \
        --appendonly yes --appendfsync "$([ -n "$DURABLE" ] && echo everysec || echo no)" --save '' "${t[@]}" $EXTRA
    wait_for 20 redis "$(cat "$DIR/redis.pid")" sh -c "redis-cli -h 127.0.0.1 -p $PORT --no-auth-warning -a $PASS ping | grep -q PONG"
    { echo "REDIS_URL=redis://default:$PASS@127.0.0.1:$PORT/0"
      [ -z "$TLS" ] || { echo "REDIS_TLS_URL=rediss://default:$PASS@127.0.0.1:$TLS_PORT/0"; echo "REDIS_CA=$DIR/tls/ca.crt"; }
    } >"$DIR/env"
}
down_redis() { stop_pid "$DIR/redis.pid" TERM 10; }

rabbit_env() {
    export HOME=$DIR/home RABBITMQ_CONF_ENV_FILE=$DIR/no-such-file RABBITMQ_NODENAME=test$PORT@localhost
    export RABBITMQ_CONFIG_FILE=$DIR/rabbitmq.conf RABBITMQ_ADVANCED_CONFIG_FILE=$DIR/advanced.config
    export RABBITMQ_MNESIA_BASE=$DIR/data RABBITMQ_LOG_BASE=$DIR/log RABBITMQ_ENABLED_PLUGINS_FILE=$DIR/enabled_plugins
    export RABBITMQ_GENERATED_CONFIG_DIR=$DIR/home/config RABBITMQ_SCHEMA_DIR=$DIR/home/schema
    export RABBITMQ_PID_FILE=$DIR/home/beam.pid RABBITMQ_DIST_PORT=$PORT3
    export ERL_EPMD_PORT=$PORT4 ERL_EPMD_ADDRESS=127.0.0.1
    export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1} +S 2:2"
    export RUNNING_UNDER_SYSTEMD=1 # makes the start script exec the node, so that its pid is the node's
    # rabbitmqctl & co: the tool's own listening ports stay out of the default 35672..35682
    export RABBITMQ_CTL_DIST_PORT_MIN=$((PORT3 + 1)) RABBITMQ_CTL_DIST_PORT_MAX=$((PORT3 + 10)) LANG=C.UTF-8
}
up_rabbitmq() {
    reach rabbitmq
    if [ ! -e "$DIR/rabbitmq.conf" ]; then
        mkdir -p "$DIR/home" "$DIR/data"
        (umask 077; head -c 18 /dev/urandom | base64 | tr -d '/+=' >"$DIR/home/.erlang.cookie")
        chmod 400 "$DIR/home/.erlang.cookie"
        echo '[rabbitmq_management].' >"$DIR/enabled_plugins"
        cat >"$DIR/rabbitmq.conf" <<X
listeners.tcp.1 = 127.0.0.1:$PORT
management.tcp.ip = 127.0.0.1
management.tcp.port = $PORT2
default_user = app
default_pass = $PASS
loopback_users = none
disk_free_limit.absolute = 50MB
vm_memory_high_watermark.absolute = 1GB
log.file.level = info
${SERVICES_CONF:-}
X
        if [ -n "$TLS" ]; then
            tls rabbitmq
            cat >>"$DIR/rabbitmq.conf" <<X
listeners.ssl.1 = 127.0.0.1:$TLS_PORT
ssl_options.cacertfile = $DIR/tls/ca.crt
ssl_options.certfile = $DIR/tls/server.crt
ssl_options.keyfile = $DIR/tls/server.key
ssl_options.verify = verify_none
ssl_options.versions.1 = tlsv1.3
ssl_options.versions.2 = tlsv1.2
X
        fi
        own rabbitmq "$DIR/home"; own rabbitmq "$DIR/data"; own rabbitmq "$DIR/rabbitmq.conf"; own rabbitmq "$DIR/enabled_plugins"
    fi
    own rabbitmq "$DIR/log"
    (
        rabbit_env
        DIRHOME=$HOME
        run() { # like spawn, with rabbit's HOME; ends before `up` does
            local d=()
            [ "$(id -u)" != 0 ] || d=(setpriv --reuid rabbitmq --regid "$(id -g rabbitmq)" --clear-groups)
            cd "$DIRHOME"
            HOME=$DIRHOME setsid "${d[@]}" "${@:2}" </dev/null >>"$DIR/log/$1.out" 2>&1 &
            echo $! >"$DIR/$1.pid"
        }
        run epmd epmd -port "$ERL_EPMD_PORT" -address 127.0.0.1
        wait_for 10 epmd "" open_port "$ERL_EPMD_PORT"
        run rabbitmq /usr/lib/rabbitmq/bin/rabbitmq-server
    )
    # The AMQP listener opens last. Greeting it with the protocol header gets Connection.Start (frame type 1).
    wait_for 180 rabbitmq "$(cat "$DIR/rabbitmq.pid")" amqp_answers
    { echo "AMQP_URL=amqp://app:$PASS@127.0.0.1:$PORT/%2F"
      echo "AMQP_MANAGEMENT_URL=http://app:$PASS@127.0.0.1:$PORT2"
      [ -z "$TLS" ] || { echo "AMQP_TLS_URL=amqps://app:$PASS@127.0.0.1:$TLS_PORT/%2F"; echo "AMQP_CA=$DIR/tls/ca.crt"; }
    } >"$DIR/env"
}
amqp_answers() {
    local c
    exec 3<>"/dev/tcp/127.0.0.1/$PORT" || return 1
    printf 'AMQP\0\0\11\1' >&3
    IFS= read -r -n 1 -t 2 -u 3 c; exec 3>&-
    [ "$c" = $'\001' ]
}
down_rabbitmq() { # TERM = orderly stop of the node
    stop_pid "$DIR/rabbitmq.pid" TERM 60
    stop_pid "$DIR/epmd.pid" TERM 5
}

up_s3() {
    local fsid uuid
    export CEPH_CONF=$DIR/ceph.conf
    if [ ! -e "$DIR/ceph.conf" ]; then
        mkdir -p "$DIR/mon" "$DIR/osd" "$DIR/rgw" "$DIR/run"
        fsid=$(cat /proc/sys/kernel/random/uuid)
        cat >"$DIR/ceph.conf" <<X
[global]
fsid = $fsid
mon host = [v2:127.0.0.1:$PORT2/0]
mon initial members = a
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
ms bind msgr1 = false
ms bind port min = $PORT3
ms bind port max = $((PORT3 + 60))
auth cluster required = none
auth service required = none
auth client required = none
# with auth "none" only the crc mode exists; without these lines radosgw never connects (EACCES every 3 s)
ms cluster mode = crc
ms service mode = crc
ms client mode = crc
ms mon cluster mode = crc
ms mon service mode = crc
ms mon client mode = crc
run dir = $DIR/run
admin socket = $DIR/run/\$name.asok
log file = $DIR/log/\$name.log
pid file = $DIR/run/\$name.pid
crash dir = $DIR/run
keyring = $DIR/keyring
paxos propose interval = 0.05
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
mon data avail warn = 1
mon data avail crit = 0
mon osd full ratio = 0.99
[mon]
mon data = $DIR/mon
mon cluster log file = $DIR/log/cluster.log
[osd]
osd data = $DIR/osd
osd objectstore = $([ -n "$DURABLE" ] && echo bluestore || echo memstore)
memstore device bytes = 4294967296
bluestore block size = 8589934592
osd memory target = 939524096
# a fast shutdown loses what memstore holds
osd fast shutdown = false
osd mon shutdown timeout = 0.2
osd class load list = *
osd class default list = *
[client.rgw]
rgw data = $DIR/rgw
rgw enable usage log = false
rgw frontends = beast endpoint=127.0.0.1:$PORT$([ -z "$TLS" ] || echo " ssl_endpoint=127.0.0.1:$TLS_PORT ssl_certificate=$DIR/tls/server.crt ssl_private_key=$DIR/tls/server.key")
X
        [ -z "$TLS" ] || tls root
        {
            ceph-authtool --create-keyring "$DIR/keyring" --gen-key -n mon. --cap mon 'allow *'
            ceph-authtool "$DIR/keyring" --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *'
            monmaptool --create --clobber --fsid "$fsid" --addv a "[v2:127.0.0.1:$PORT2]" "$DIR/monmap"
            ceph-mon --mkfs -i a --monmap "$DIR/monmap" --keyring "$DIR/keyring"
        } >>"$DIR/log/setup.out" 2>&1 || die "making the monitor failed, see $DIR/log/setup.out"
    fi
    spawn mon "" ceph-mon -f -i a
    wait_for 60 ceph-mon "$(cat "$DIR/mon.pid")" timeout 5 ceph mon stat
    if [ ! -e "$DIR/osd/whoami" ]; then
        uuid=$(cat /proc/sys/kernel/random/uuid)
        { ceph osd new "$uuid" && ceph-osd -i 0 --mkfs --osd-uuid "$uuid"; } >>"$DIR/log/setup.out" 2>&1 ||
            die "making the osd failed, see $DIR/log/setup.out"
    fi
    spawn osd "" ceph-osd -f -i 0
    wait_for 60 ceph-osd "$(cat "$DIR/osd.pid")" sh -c 'timeout 5 ceph osd stat | grep -q " 1 up"'
    spawn rgw "" radosgw -n client.rgw -f
    wait_for 120 radosgw "$(cat "$DIR/rgw.pid")" curl -sf -o /dev/null "http://127.0.0.1:$PORT/"
    if [ ! -e "$DIR/env" ]; then
        radosgw-admin -n client.rgw user create --uid=app --display-name=app --access-key=APPKEY --secret=$PASS \
            >>"$DIR/log/setup.out" 2>&1 || die "making the S3 user failed, see $DIR/log/setup.out"
        curl -sf -o /dev/null --aws-sigv4 aws:amz:us-east-1:s3 --user "APPKEY:$PASS" \
            -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' -X PUT "http://127.0.0.1:$PORT/app" || die "making the bucket failed"
    fi
    { echo "S3_URL=s3://app"; echo "S3_ENDPOINT=http://127.0.0.1:$PORT"
      echo "S3_ACCESS_KEY=APPKEY"; echo "S3_SECRET_KEY=$PASS"; echo "S3_REGION=us-east-1"; echo "S3_BUCKET=app"
      [ -z "$TLS" ] || { echo "S3_TLS_ENDPOINT=https://127.0.0.1:$TLS_PORT"; echo "S3_CA=$DIR/tls/ca.crt"; }
    } >"$DIR/env"
}
down_s3() {
    stop_pid "$DIR/rgw.pid" TERM 20
    stop_pid "$DIR/osd.pid" TERM 20   # memstore writes itself to DIR/osd on an orderly stop
    stop_pid "$DIR/mon.pid" TERM 20
}

DURABLE=
[ "${1:-}" != --durable ] || { DURABLE=1; shift; }
usage="usage: services.sh names | install NAME | installed NAME | [--durable] up|env|signal|down|kill|ctl NAME DIR ..."
cmd=${1:-}
[ "$cmd" != names ] || { echo "$NAMES"; exit; }
[ $# -ge 2 ] || die "$usage"
NAME=$2
packages "$NAME" >/dev/null
case $cmd in
installed) installed "$NAME"; exit ;;
install)
    installed "$NAME" && exit
    list=$(mktemp); log=$(mktemp); trap 'rm -f "$list" "$log"' EXIT
    packages "$NAME" >"$list"
    "$ROOT/tools/deps.sh" "$list" >"$log" 2>&1 || { cat "$log" >&2; die "$NAME cannot be installed: its tests will be skipped"; }
    exit ;;
esac
[ $# -ge 3 ] || die "$usage"
DIR=$3
main=$NAME; [ "$NAME" != s3 ] || main=rgw
case $cmd in
up)
    setup
    ! alive "$DIR/$main.pid" || die "$NAME is already up in $DIR"
    "down_$NAME"                                 # what a crash left over
    trap '[ "$?" = 0 ] || "down_$NAME"' EXIT     # a failed start leaves nothing running
    "up_$NAME"; cat "$DIR/env" ;;
down)   setup; "down_$NAME" ;;
kill)   # every server is the leader of a process group; PostgreSQL's children end with it
        for f in "$DIR"/*.pid; do [ ! -s "$f" ] || kill -KILL -- "-$(cat "$f")" 2>/dev/null || true; rm -f "$f"; done ;;
env)    cat "$DIR/env" ;;
signal) alive "$DIR/$main.pid" || die "$NAME is not up in $DIR"
        p=$(cat "$DIR/$main.pid"); kill "-$4" "$p"
        # PostgreSQL's connections are processes of their own: they end with the first one, but would not stop with it
        case $NAME-$4 in postgres-STOP | postgres-CONT)
            read -ra children <"/proc/$p/task/$p/children" || true
            kill "-$4" "${children[@]}" 2>/dev/null || true ;;
        esac ;;
ctl)    [ "$NAME" = rabbitmq ] || die "only rabbitmq has a ctl"
        setup; rabbit_env; shift 3; cd "$DIR/home"
        drop=(); [ "$(id -u)" != 0 ] || drop=(setpriv --reuid rabbitmq --regid "$(id -g rabbitmq)" --clear-groups)
        exec "${drop[@]}" /usr/lib/rabbitmq/bin/rabbitmqctl "$@" ;;
*) die "$usage" ;;
esac

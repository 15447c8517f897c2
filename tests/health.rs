//! What a person, cron and a monitoring system see of `health`.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and looks at the machine itself"
)]

mod common;

use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::host::{Captured, Cues, Ran, Sandbox, TestClock, TestRandom};
use common::server::{FakeServer, Framing, Gate, Script, Step};
use jiff::{SignedDuration, Timestamp};
use pachat::api::probe::{self, Diagnosis, Progress};
use pachat::api::{Client, Endpoint};
use pachat::platform::disk::{Entry, File, Open, RealDisk, Stat, Walked};
use pachat::platform::network::RealNetwork;
use pachat::platform::program::{self, Ended};
use pachat::platform::{Disk, Network, Programs};
use serde_json::Value;

const MODELS: &str = r#"{"object":"list","data":[{"id":"one"},{"id":"two:latest"}]}"#;

/// A home whose clock shows the time that its files are made at.
fn home(base_url: &str) -> Sandbox {
    let mut sandbox = Sandbox::with_server(base_url);
    sandbox.clock = Arc::new(TestClock::at(&Timestamp::now().to_string()));
    sandbox
}

/// The same with a server that answers these requests.
fn served(scripts: impl IntoIterator<Item = Script>) -> (FakeServer, Sandbox) {
    let server = FakeServer::answering(scripts);
    let sandbox = home(&server.base_url());
    (server, sandbox)
}

/// A home with a conversation in it.
fn lived_in(scripts: impl IntoIterator<Item = Script>) -> (FakeServer, Sandbox) {
    let first = [Script::reply("Hello")];
    let (server, sandbox) = served(first.into_iter().chain(scripts));
    let sent = sandbox.run(&["send", "-m", "one", "hello"]);
    assert_eq!(sent.code, 0, "{}", sent.stderr);
    (server, sandbox)
}

fn json(ran: &Ran) -> Value {
    assert_eq!(
        ran.stdout.lines().count(),
        1,
        "{}{}",
        ran.stdout,
        ran.stderr
    );
    serde_json::from_str(&ran.stdout).unwrap()
}

fn probe_of<'a>(report: &'a Value, name: &str) -> &'a Value {
    let probes = report["probes"].as_array().unwrap();
    let found = probes.iter().find(|probe| probe["name"] == name);
    found.unwrap_or_else(|| panic!("no probe {name} in {report}"))
}

/// Looks at the server alone: the exit code, and the probe of this name.
fn look(sandbox: &Sandbox, name: &str, more: &[&str]) -> (u8, Value) {
    let args = [&["health", "--json", "--only", "server,model"], more].concat();
    let ran = sandbox.run(&args);
    let report = json(&ran);
    (ran.code, probe_of(&report, name).clone())
}

fn assert_code(found: &(u8, Value), code: &str, mention: &str) {
    let (exit, probe) = found;
    assert_eq!((*exit, &probe["code"]), (2, &code.into()), "{probe}");
    let cause = probe["cause"].as_str().unwrap();
    assert!(cause.contains(mention), "{cause}");
    assert!(!probe["remedy"].as_str().unwrap().is_empty(), "{probe}");
}

#[test]
fn a_server_that_answers_is_healthy_and_nothing_is_created() {
    let (server, sandbox) = served([Script::json(200, MODELS)]);
    let ran = sandbox.run(&["health", "--json"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{}", ran.stdout);
    let report = json(&ran);
    assert_eq!(report["schema"], 1);
    assert_eq!(report["status"], "HEALTHY");
    let server_probe = probe_of(&report, "server");
    assert_eq!(server_probe["status"], "ok");
    for metric in [
        "server_name_seconds",
        "server_connect_seconds",
        "server_response_seconds",
    ] {
        assert!(
            server_probe["metrics"][metric].is_number(),
            "{server_probe}"
        );
    }
    assert_eq!(
        probe_of(&report, "model")["value"],
        "one, the server's first"
    );
    assert_eq!(probe_of(&report, "store")["status"], "skipped");
    assert!(!sandbox.data_dir().exists());
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(
        (requests[0].method.as_str(), requests[0].path.as_str()),
        ("GET", "/v1/models")
    );
    assert_eq!(
        requests[0].header("authorization"),
        Some("Bearer test-key-0123456789")
    );
}

#[test]
fn openrouter_is_asked_about_the_key_and_once_in_an_hour_for_its_models() {
    let models = r#"{"data":[{"id":"a/b"}]}"#;
    let key = r#"{"data":{"label":"x","limit":10,"limit_remaining":2.5,"usage":7.5}}"#;
    let server = FakeServer::deciding(move |request| match request.path.as_str() {
        "/v1/key" => Script::json(200, key),
        "/v1/models" => Script::json(200, models),
        "/v1/chat/completions" => Script::reply("Hello"),
        _ => Script::json(404, "{}"),
    });
    let mut sandbox = home(&server.base_url());
    let set = |key: &str, value: &str| {
        let done = sandbox.run(&["config", "set", key, value]);
        assert_eq!(done.code, 0, "{}", done.stderr);
    };
    set("api.profile", "openrouter");
    set("chat.model", "a/b:nitro");
    sandbox.set("NO_COLOR", "1");
    let found = look(&sandbox, "server", &[]);
    assert_eq!(found.0, 0, "{}", found.1);
    assert_eq!(found.1["metrics"]["key_limit_remaining_usd"], 2.5);
    assert!(
        found.1["value"]
            .as_str()
            .unwrap()
            .contains("; $2.5000 left"),
        "{}",
        found.1
    );
    let found = look(&sandbox, "model", &[]);
    assert_eq!(found.1["value"], "a/b");
    let paths: Vec<String> = server.requests().into_iter().map(|r| r.path).collect();
    assert_eq!(paths, ["/v1/key", "/v1/models", "/v1/key"]);
    // Nothing of it is in the log, and offline the kept list still tells.
    assert!(
        !sandbox.data_dir().join("logs/app.log").exists() || {
            let log = std::fs::read_to_string(sandbox.data_dir().join("logs/app.log")).unwrap();
            !log.contains("API response time")
        }
    );
    let found = look(&sandbox, "model", &["--offline"]);
    assert_eq!((found.0, &found.1["status"]), (0, &"ok".into()));
}

#[test]
fn nobody_listens() {
    let found = look(&home(&FakeServer::nobody()), "server", &[]);
    assert_code(&found, "refused", "nothing listens there");
}

#[test]
fn a_wrong_key_and_an_empty_purse_have_their_own_names() {
    for (status, body, code, mention) in [
        (
            401,
            r#"{"error":{"message":"Invalid API Key","code":401}}"#,
            "bad-key",
            "refused the API key",
        ),
        (
            401,
            r#"{"error":{"message":"API key expired","code":401}}"#,
            "expired-key-or-no-credit",
            "expired",
        ),
        (
            402,
            r#"{"error":{"message":"Insufficient credits","code":402}}"#,
            "expired-key-or-no-credit",
            "not enough credit",
        ),
        (
            403,
            r#"{"error":{"message":"Key disabled","code":403}}"#,
            "expired-key-or-no-credit",
            "Key disabled",
        ),
        (
            400,
            r#"{"error":{"message":"No connected db.","type":"no_db_connection","code":"400"}}"#,
            "bad-key",
            "refused the API key",
        ),
    ] {
        let (_server, sandbox) = served([Script::json(status, body)]);
        let found = look(&sandbox, "server", &[]);
        assert_code(&found, code, mention);
        assert!(!found.1.to_string().contains("test-key"), "{}", found.1);
    }
}

#[test]
fn a_key_with_nothing_left_or_past_its_end_is_told_from_a_good_one() {
    for (data, mention) in [
        (r#""limit":5,"limit_remaining":0"#, "is spent"),
        (r#""limit":5,"limit_remaining":-0.2"#, "is spent"),
        (
            r#""limit":null,"limit_remaining":null,"expires_at":"2020-01-01T00:00:00Z""#,
            "has expired",
        ),
    ] {
        let body = format!("{{\"data\":{{{data}}}}}");
        let (_server, sandbox) = served([Script::json(200, &body)]);
        sandbox.run(&["config", "set", "api.profile", "openrouter"]);
        assert_code(
            &look(&sandbox, "server", &[]),
            "expired-key-or-no-credit",
            mention,
        );
    }
}

#[test]
fn what_is_no_api_is_a_wrong_base_url() {
    let page = "<!doctype html><title>Hello</title>";
    for script in [
        Script::new(404, "text/html").send(page),
        Script::new(200, "text/html").send(page),
        Script::json(404, r#"{"detail":"Not Found"}"#),
        Script::json(200, "{}"),
        Script::json(301, "").header("Location", "https://elsewhere.example/"),
        Script::raw().send("SSH-2.0-OpenSSH_9.9\r\n\r\n"),
    ] {
        let (_server, sandbox) = served([script]);
        let found = look(&sandbox, "server", &[]);
        assert_code(&found, "wrong-base-url", "");
        assert!(
            found.1["remedy"].as_str().unwrap().contains("base URL"),
            "{}",
            found.1
        );
    }
}

#[test]
fn a_model_that_is_gone_is_found_and_its_names_are_known() {
    let (_server, sandbox) = served([Script::json(200, MODELS)]);
    for (model, exit) in [
        ("one", 0),
        ("two", 0),
        ("two:latest", 0),
        ("three", 2),
        ("builtin/guide", 0),
    ] {
        sandbox.run(&["config", "set", "chat.model", model]);
        let found = look(&sandbox, "model", &[]);
        assert_eq!(found.0, exit, "{model}: {}", found.1);
        if exit == 2 {
            assert_code(&found, "model-gone", "three");
        }
    }
}

#[test]
fn a_busy_server_is_degraded_and_a_failing_one_is_not_well() {
    let (_server, sandbox) = served([Script::json(429, r#"{"error":{"message":"slow down"}}"#)]);
    let found = look(&sandbox, "server", &[]);
    assert_eq!((found.0, &found.1["code"]), (1, &"rate-limited".into()));
    let (_server, sandbox) = served([Script::json(503, r#"{"error":{"message":"down"}}"#)]);
    assert_code(&look(&sandbox, "server", &[]), "server-error", "down");
}

#[test]
fn a_server_that_says_nothing_takes_no_longer_than_allowed() {
    let (server, mut sandbox) = served([Script::new(200, "application/json").step(Step::HangUp)]);
    sandbox.clock = Arc::new(TestClock::at("2026-08-22T09:41:07Z").faster(200));
    let found = look(&sandbox, "server", &["--timeout", "30"]);
    assert_code(&found, "timeout", "30 s");
    drop(server);
}

#[test]
fn a_slow_answer_is_degraded() {
    let clock = Arc::new(TestClock::at("2026-08-22T09:41:07Z"));
    let passing = Arc::clone(&clock);
    let step = Step::Do(Arc::new(move || {
        pachat::platform::Clock::sleep(passing.as_ref(), Duration::from_secs(11));
    }));
    let script = Script::json(200, MODELS);
    let (_server, mut sandbox) = served([script.framing(Framing::Close).step(step)]);
    sandbox.clock = clock;
    let found = look(&sandbox, "server", &[]);
    assert_eq!(
        (found.0, &found.1["code"]),
        (1, &"slow".into()),
        "{}",
        found.1
    );
}

#[test]
fn clocks_are_compared() {
    let now: Timestamp = "2026-08-22T09:41:07Z".parse().unwrap();
    for (date, age, exit) in [
        ("Sat, 22 Aug 2026 09:41:07 GMT", "0", 0),
        ("Sat, 22 Aug 2026 09:50:07 GMT", "0", 1),
        ("Sat, 22 Aug 2026 09:30:07 GMT", "0", 1),
        // A cache hands old dates on.
        ("Sat, 22 Aug 2026 09:30:07 GMT", "660", 0),
    ] {
        let script = Script::json(200, MODELS)
            .header("Date", date)
            .header("Age", age);
        let (_server, mut sandbox) = served([script]);
        sandbox.clock = Arc::new(TestClock::at(&now.to_string()));
        let ran = sandbox.run(&["health", "--json", "--only", "clock"]);
        assert_eq!(ran.code, exit, "{date}: {}", ran.stdout);
        let report = json(&ran);
        if exit == 1 {
            assert_eq!(probe_of(&report, "clock")["code"], "clock-skew");
        }
    }
}

/// A server on loopback that speaks TLS with this certificate, and answers with the models.
fn tls_server(certificate: &str) -> String {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let path = |name: &str| {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/tls")
            .join(name)
    };
    let certificate = CertificateDer::from_pem_file(path(certificate)).unwrap();
    let key = PrivateKeyDer::from_pem_file(path("server-key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for stream in listener.incoming().flatten() {
            let config = Arc::clone(&config);
            std::thread::spawn(move || {
                let tls = rustls::ServerConnection::new(config).unwrap();
                let mut stream = rustls::StreamOwned::new(tls, stream);
                let mut request = [0; 4096];
                if stream.read(&mut request).is_ok_and(|count| count > 0) {
                    let length = MODELS.len();
                    let _ = write!(
                        stream,
                        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{MODELS}"
                    );
                    let _ = stream.flush();
                }
            });
        }
    });
    format!("https://127.0.0.1:{port}/v1")
}

#[test]
fn what_is_wrong_with_a_certificate_is_told() {
    let authority = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls/authority.pem");
    for (certificate, mention) in [
        ("expired.pem", "it has expired"),
        ("early.pem", "it is not valid yet"),
        ("other.pem", "it is for another name"),
    ] {
        let mut sandbox = home(&tls_server(certificate));
        sandbox.set("SSL_CERT_FILE", authority.to_str().unwrap());
        assert_code(&look(&sandbox, "server", &[]), "tls", mention);
    }
    let mut sandbox = home(&tls_server("good.pem"));
    assert_code(&look(&sandbox, "server", &[]), "tls", "unknown authority");
    sandbox.set("SSL_CERT_FILE", authority.to_str().unwrap());
    let found = look(&sandbox, "server", &[]);
    assert_eq!(found.0, 0, "{}", found.1);
    assert!(found.1["metrics"]["server_tls_seconds"].is_number());
    // Plain HTTP behind https.
    let (server, _) = served([Script::json(200, MODELS)]);
    let sandbox = home(&server.base_url().replace("http:", "https:"));
    assert_code(&look(&sandbox, "server", &[]), "tls", "");
}

/// A network in which things happen as a test says, and nothing leaves the machine.
struct StagedNetwork {
    name: Result<SocketAddr, &'static str>,
    connect: Option<io::ErrorKind>,
    route: bool,
}

impl Network for StagedNetwork {
    fn resolve(&self, _host: &str, _port: u16) -> io::Result<Vec<SocketAddr>> {
        self.name
            .map(|address| vec![address])
            .map_err(io::Error::other)
    }

    fn connect(&self, address: &SocketAddr, limit: Duration) -> io::Result<TcpStream> {
        match self.connect {
            Some(kind) => Err(kind.into()),
            None => RealNetwork.connect(address, limit),
        }
    }

    fn has_route(&self) -> bool {
        self.route
    }
}

#[test]
fn without_a_network_each_step_fails_in_its_own_way() {
    let there = Ok(([192, 0, 2, 1], 443).into());
    let unknown = Err("failed to lookup address information: Name or service not known");
    let passing = Err("failed to lookup address information: Temporary failure in name resolution");
    for (name, connect, route, diagnosis, mention) in [
        (unknown, None, true, Diagnosis::Dns, "is not known"),
        (passing, None, true, Diagnosis::Dns, "no name server tells"),
        (passing, None, false, Diagnosis::Offline, "is offline"),
        (
            there,
            Some(io::ErrorKind::NetworkUnreachable),
            false,
            Diagnosis::Offline,
            "is offline",
        ),
        (
            there,
            Some(io::ErrorKind::HostUnreachable),
            true,
            Diagnosis::Unreachable,
            "no way to it",
        ),
        (
            there,
            Some(io::ErrorKind::ConnectionRefused),
            true,
            Diagnosis::Refused,
            "was refused",
        ),
        (
            there,
            Some(io::ErrorKind::TimedOut),
            true,
            Diagnosis::Timeout,
            "no connection in time",
        ),
    ] {
        let endpoint = Endpoint::new("https://api.example.com/v1".parse().unwrap());
        let client = Client::new(
            endpoint,
            Arc::new(TestClock::new()),
            Arc::new(TestRandom::new(1)),
        );
        let network: Arc<dyn Network> = Arc::new(StagedNetwork {
            name,
            connect,
            route,
        });
        let limit = Duration::from_secs(5);
        let findings = probe::probe(&client, &network, limit, false, &Progress::default());
        let fault = findings.result.unwrap_err();
        assert_eq!(fault.diagnosis, diagnosis, "{:?}", fault.error);
        assert!(
            fault.error.headline().contains(mention),
            "{:?}",
            fault.error
        );
        assert!(fault.error.hint_text().is_some() || diagnosis != Diagnosis::Offline);
    }
}

/// A network that only remembers what was looked up.
struct Asked(std::sync::Mutex<Vec<(String, u16)>>);
impl Network for Asked {
    fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        self.0.lock().unwrap().push((host.to_owned(), port));
        Err(io::Error::other("Name or service not known"))
    }
    fn connect(&self, _: &SocketAddr, _: Duration) -> io::Result<TcpStream> {
        Err(io::ErrorKind::NotConnected.into())
    }
    fn has_route(&self) -> bool {
        true
    }
}

#[test]
fn behind_a_proxy_it_is_the_proxy_that_is_looked_up() {
    let mut endpoint = Endpoint::new("https://api.example.com/v1".parse().unwrap());
    endpoint.network.https_proxy = Some("proxy.example:3128".into());
    let client = Client::new(
        endpoint,
        Arc::new(TestClock::new()),
        Arc::new(TestRandom::new(1)),
    );
    let asked = Arc::new(Asked(std::sync::Mutex::default()));
    let network: Arc<dyn Network> = Arc::clone(&asked) as Arc<dyn Network>;
    let limit = Duration::from_secs(5);
    let findings = probe::probe(&client, &network, limit, false, &Progress::default());
    assert_eq!(findings.result.unwrap_err().diagnosis, Diagnosis::Proxy);
    assert_eq!(
        *asked.0.lock().unwrap(),
        [("proxy.example".to_owned(), 3128)]
    );
}

#[test]
fn diagnoses_have_codes_of_their_own() {
    let codes: std::collections::BTreeSet<&str> = Diagnosis::ALL
        .iter()
        .map(|diagnosis| diagnosis.code())
        .collect();
    assert_eq!(codes.len(), Diagnosis::ALL.len());
}

#[test]
fn a_key_does_not_go_over_plain_http_to_another_machine() {
    let sandbox = home("http://192.0.2.1:9/v1");
    let ran = sandbox.run(&["health", "--json", "--offline", "--only", "key"]);
    assert_eq!(ran.code, 2);
    assert_eq!(probe_of(&json(&ran), "key")["code"], "key-over-http");
}

#[test]
fn a_sealed_key_that_wants_a_pass_phrase_asks_nobody() {
    let (server, mut sandbox) = served([Script::json(401, r#"{"error":{"message":"no key"}}"#)]);
    sandbox
        .variables
        .remove(std::ffi::OsStr::new("PACHAT_OPENROUTER_API_KEY"));
    sandbox.set("ENCRYPTION_KEY", "correct horse");
    let set = ["config", "key", "set", "--stdin", "--wrap", "passphrase"];
    let set = sandbox.run_with(&set, "sk-test-0123456789");
    assert_eq!(set.code, 0, "{}", set.stderr);
    sandbox
        .variables
        .remove(std::ffi::OsStr::new("ENCRYPTION_KEY"));
    let ran = sandbox.run(&["health", "--json", "--only", "key,server"]);
    let report = json(&ran);
    assert_eq!(ran.code, 0, "{report}");
    let value = probe_of(&report, "key")["value"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(value.contains("it wants a pass phrase"), "{value}");
    // The server is there; whether the key is good cannot be told.
    assert_eq!(server.requests()[0].header("authorization"), None);
}

/// A key command that takes longer than any test, and the pipe in which it says that it has
/// begun. The pipe is at its end when nobody is left of what the command has started.
#[cfg(unix)]
fn with_endless_command(sandbox: &mut Sandbox, waits: &str) -> PathBuf {
    let pipe = sandbox.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let key = OsString::from("PACHAT_OPENROUTER_API_KEY");
    sandbox.variables.remove(&key);
    let command = format!("exec 3> '{}'; echo begun >&3; {waits}", pipe.display());
    let set = sandbox.run(&["config", "set", "api.key_command", &command]);
    assert_eq!(set.code, 0, "{}", set.stderr);
    pipe
}

#[cfg(unix)]
const WITH_A_CHILD: &str = "(sleep 60; echo late >&3) & wait";

#[cfg(unix)]
#[test]
fn a_key_command_that_does_not_end_is_ended_and_holds_up_nobody() {
    let (server, mut sandbox) = served([Script::json(401, "{}")]);
    let pipe = with_endless_command(&mut sandbox, WITH_A_CHILD);
    let args = ["health", "--json", "--timeout", "1"];
    let (ran, said) = std::thread::scope(|scope| {
        let ran = scope.spawn(|| sandbox.run(&args));
        let said = std::fs::read_to_string(&pipe).unwrap();
        (ran.join().unwrap(), said)
    });
    assert_eq!((ran.code, ran.stderr.as_str()), (2, ""));
    assert_eq!(
        said, "begun\n",
        "it was not ended with all that it had started"
    );
    let report = json(&ran);
    let key = (2, probe_of(&report, "key").clone());
    assert_code(&key, "key-timeout", "api.key_command took longer than 1 s");
    assert!(key.1["remedy"].as_str().unwrap().contains("--timeout 2"));
    // The server was looked at without it, and so was the rest.
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].header("authorization"), None);
    assert_eq!(probe_of(&report, "server")["status"], "ok");
    assert_eq!(probe_of(&report, "config")["status"], "ok");
    assert_eq!(probe_of(&report, "data-dir")["status"], "ok");
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_key_command() {
    for (args, waits) in [
        (&["health"][..], WITH_A_CHILD),
        (&["health", "--watch", "9"], WITH_A_CHILD),
        // Where a person may be asked, the terminal sends its Ctrl-C to all that is started.
        (&["send", "-m", "one", "hello"], "exec sleep 60"),
    ] {
        let mut sandbox = home(&FakeServer::nobody());
        let pipe = with_endless_command(&mut sandbox, waits);
        let cues = Cues::default();
        let (ran, said) = std::thread::scope(|scope| {
            let ran = scope.spawn(|| sandbox.run_on(&cues, args, ""));
            let mut said = BufReader::new(std::fs::File::open(&pipe).unwrap());
            let mut line = String::new();
            said.read_line(&mut line).unwrap();
            cues.signals.raise_interrupt();
            said.read_to_string(&mut line).unwrap();
            (ran.join().unwrap(), line)
        });
        assert_eq!(ran.code, 130, "{args:?}: {}", ran.stderr);
        assert_eq!(said, "begun\n", "{args:?}");
        assert_eq!(ran.stdout, "", "{args:?}");
    }
}

#[test]
fn without_a_key_a_server_that_wants_one_is_unhealthy_and_still_looked_at() {
    let mut sandbox = Sandbox::new();
    sandbox.set("OPENROUTER_BASE_URL", "https://api.example.com/v1");
    let ran = sandbox.run(&["health", "--offline", "--json", "--only", "key"]);
    assert_eq!(ran.code, 2);
    assert_eq!(probe_of(&json(&ran), "key")["code"], "no-key");
}

#[test]
fn a_server_of_ones_own_may_want_a_key_after_all() {
    let refusal = r#"{"error":{"message":"Invalid API Key","code":401}}"#;
    let server = FakeServer::answering([Script::json(401, refusal)]);
    let mut sandbox = Sandbox::new();
    sandbox.clock = Arc::new(TestClock::at(&Timestamp::now().to_string()));
    sandbox.set("OPENROUTER_BASE_URL", &server.base_url());
    let ran = sandbox.run(&["health", "--json", "--only", "key,server"]);
    assert_eq!(ran.code, 2, "{}", ran.stdout);
    let report = json(&ran);
    assert_eq!(probe_of(&report, "key")["status"], "ok");
    let server = probe_of(&report, "server");
    assert_eq!(server["code"], "bad-key");
    let cause = server["cause"].as_str().unwrap();
    assert!(cause.contains("wants an API key"), "{cause}");
    let remedy = server["remedy"].as_str().unwrap();
    assert!(remedy.contains("pachat config key set"), "{server}");
}

#[test]
fn a_broken_file_of_settings_is_a_finding() {
    let (_server, sandbox) = lived_in([Script::json(200, MODELS)]);
    let file = sandbox.data_dir().join("config/app_config.json");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "{\"chat\": {\"temperature\": 9}").unwrap();
    let ran = sandbox.run(&["health", "--json", "--offline"]);
    assert_eq!(ran.code, 2, "{}{}", ran.stdout, ran.stderr);
    let report = json(&ran);
    let data_dir = sandbox.data_dir();
    assert_eq!(report["data_dir"], data_dir.to_str().unwrap());
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(probe_of(&report, "config")["code"], "bad-config");
    assert_eq!(probe_of(&report, "data-dir")["status"], "ok");
    std::fs::write(&file, "{\"chat\": {\"modell\": \"x\"}}").unwrap();
    let ran = sandbox.run(&["health", "--json", "--offline", "--only", "config"]);
    assert_eq!(ran.code, 1);
    let report = json(&ran);
    let cause = probe_of(&report, "config")["cause"].as_str().unwrap();
    assert!(cause.contains("modell"), "{cause}");
}

#[test]
fn a_wrong_variable_option_or_env_file_is_a_finding() {
    let (_server, mut sandbox) = lived_in([]);
    let cause = |sandbox: &Sandbox, more: &[&str]| {
        let args = ["health", "--json", "--offline", "--only", "config"];
        let ran = sandbox.run(&[more, &args].concat());
        assert_eq!(ran.code, 2, "{}{}", ran.stdout, ran.stderr);
        let report = json(&ran);
        let probe = probe_of(&report, "config");
        assert_eq!(probe["code"], "bad-config");
        let remedy = probe["remedy"].as_str().unwrap();
        assert!(remedy.contains("pachat validate config"), "{remedy}");
        // It is not the file of settings that is wrong.
        assert!(!probe["value"].as_str().unwrap().contains("app_config"));
        probe["cause"].as_str().unwrap().to_owned()
    };
    let found = cause(&sandbox, &["--base-url", "ftp://x"]);
    assert!(found.contains("ftp://x"), "{found}");
    let file = sandbox.path().join("variables");
    std::fs::write(&file, "NO FORM\n").unwrap();
    let file = file.to_str().unwrap();
    let found = cause(&sandbox, &["--env-file", file]);
    assert!(found.contains("line 1") && found.contains(file), "{found}");
    sandbox.set("LOG_LEVEL", "loud");
    let found = cause(&sandbox, &[]);
    assert!(
        found.contains("LOG_LEVEL") && found.contains("loud"),
        "{found}"
    );
}

#[test]
fn a_newer_store_is_a_finding_and_stays_untouched() {
    let (_server, sandbox) = lived_in([]);
    std::fs::write(sandbox.data_dir().join("VERSION"), "99\n").unwrap();
    let ran = sandbox.run(&["health", "--json", "--offline"]);
    assert_eq!(ran.code, 2);
    let report = json(&ran);
    let probe = probe_of(&report, "data-dir");
    assert_eq!(probe["code"], "bad-format");
    assert!(
        probe["cause"].as_str().unwrap().contains("format 99"),
        "{probe}"
    );
    assert!(
        !probe["value"].as_str().unwrap().contains("writable"),
        "{probe}"
    );
}

#[test]
fn a_file_in_the_place_of_a_directory_is_a_finding() {
    for name in ["conversations", "conversations/active", "run", "backups"] {
        let (_server, sandbox) = lived_in([]);
        let path = sandbox.data_dir().join(name);
        if path.exists() {
            std::fs::remove_dir_all(&path).unwrap();
        }
        std::fs::write(&path, "").unwrap();
        let ran = sandbox.run(&["health", "--json", "--offline"]);
        assert_eq!(ran.code, 2, "{}{}", ran.stdout, ran.stderr);
        let report = json(&ran);
        let probe = probe_of(&report, "store");
        assert_eq!(probe["code"], "not-a-directory", "{probe}");
        let problems = probe["problems"].as_array().unwrap();
        assert_eq!(problems.len(), 1, "{probe}");
        let cause = format!("a file stands where the directory {name} belongs");
        assert_eq!(problems[0]["cause"], cause);
    }
}

#[cfg(unix)]
#[test]
fn a_data_directory_on_a_disk_that_is_not_mounted_is_not_an_empty_one() {
    let (_server, sandbox) = lived_in([]);
    let data = sandbox.data_dir();
    let away = data.with_file_name("mounted");
    std::fs::rename(&data, &away).unwrap();
    std::os::unix::fs::symlink(&away, &data).unwrap();
    let ran = sandbox.run(&["list"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(ran.stdout.lines().count(), 1, "{}", ran.stdout);
    std::fs::rename(&away, away.with_file_name("unmounted")).unwrap();
    for args in [
        &["list"][..],
        &["send", "-m", "one", "hello"],
        &["backup", "--quiet", "--if-any"],
        &["cleanup", "--daily", "--yes"],
        &["export", "last"],
        &["restore", "--list"],
        &["rollback", "--list"],
        &["config", "set", "chat.model", "one"],
    ] {
        let ran = sandbox.run(args);
        assert_eq!(ran.code, 74, "{args:?}: {}{}", ran.stdout, ran.stderr);
        let said = "the data directory is not there: it is a link";
        assert!(ran.stderr.contains(said), "{args:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{args:?}");
    }
    let ran = sandbox.run(&["health", "--quiet", "--if-any", "--offline"]);
    assert_eq!(ran.code, 2, "{}{}", ran.stdout, ran.stderr);
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert!(
        said.contains("data-dir: the data directory is not there"),
        "{said}"
    );
    assert!(!away.exists(), "nothing was made in its place");
}

#[test]
fn conversations_that_cannot_be_read_are_a_finding() {
    let (_server, mut sandbox) = lived_in([]);
    let active = sandbox.data_dir().join("conversations/active");
    sandbox.disk = Arc::new(HangingDisk {
        gate: Gate::default(),
        hangs: Box::new(|_, _| false),
        denies: Box::new(move |operation, path| {
            operation.starts_with("read_dir") && path == active
        }),
    });
    let ran = sandbox.run(&["health", "--json", "--offline"]);
    assert_eq!(ran.code, 2, "{}{}", ran.stdout, ran.stderr);
    let report = json(&ran);
    let probe = probe_of(&report, "store");
    assert_eq!(probe["code"], "unreadable", "{probe}");
    let cause = probe["cause"].as_str().unwrap();
    assert!(
        cause.to_lowercase().contains("permission denied"),
        "{cause}"
    );
}

#[test]
fn the_store_is_counted_against_its_limits() {
    let (_server, sandbox) = lived_in([]);
    let active = sandbox.data_dir().join("conversations/active");
    for number in 0..9 {
        let name = format!("20260101-00000{number}-aaaaa{number}.jsonl");
        std::fs::write(active.join(name), "x".repeat(100_000 * (number + 1))).unwrap();
    }
    for (key, value) in [
        ("limits.conversations", "12"),
        ("limits.conversation_mb", "1"),
        ("limits.storage_mb", "4"),
    ] {
        sandbox.run(&["config", "set", key, value]);
    }
    let ran = sandbox.run(&["health", "--json", "--offline", "--only", "store"]);
    assert_eq!(ran.code, 1);
    let report = json(&ran);
    let probe = probe_of(&report, "store");
    let codes: Vec<&str> = probe["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| problem["code"].as_str().unwrap())
        .collect();
    assert_eq!(
        codes,
        [
            "storage-limit",
            "many-conversations",
            "conversation-nearly-full"
        ]
    );
    assert_eq!(probe["metrics"]["conversations"], 10);
    assert_eq!(probe["metrics"]["largest_conversation_bytes"], 900_000);
    let remedy = |at: usize| {
        let problem = &probe["problems"][at];
        problem["remedy"].as_str().unwrap().to_owned()
    };
    assert!(remedy(0).contains("pachat cleanup"), "{}", remedy(0));
    // What it says can be typed, and helps.
    for at in [0, 1] {
        let remedy = remedy(at);
        let (_, command) = remedy.rsplit_once("pachat ").unwrap();
        let args: Vec<&str> = command.split(' ').collect();
        assert_eq!(sandbox.run(&args).code, 0, "{command}");
    }
    let ran = sandbox.run(&["health", "--json", "--offline", "--only", "store"]);
    let report = json(&ran);
    let left = probe_of(&report, "store")["problems"].as_array().unwrap();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn conversations_without_a_backup_are_degraded_until_there_is_one() {
    let (_server, sandbox) = lived_in([]);
    let look = || {
        let ran = sandbox.run(&["health", "--json", "--offline", "--only", "backup"]);
        (ran.code, probe_of(&json(&ran), "backup")["code"].clone())
    };
    assert_eq!(look(), (1, "no-backup".into()));
    let made = sandbox.run(&["backup"]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    assert_eq!(look(), (0, Value::Null));
    let nine_days = Duration::from_secs(9 * 86_400);
    pachat::platform::Clock::sleep(sandbox.clock.as_ref(), nine_days);
    assert_eq!(look(), (1, "old-backup".into()));
}

#[test]
fn a_reply_that_was_cut_off_is_found_and_one_that_arrives_is_not() {
    let (_server, sandbox) = lived_in([]);
    let id = sandbox.conversations()[0][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let partial = sandbox
        .data_dir()
        .join(format!("conversations/active/{id}.partial"));
    std::fs::write(
        &partial,
        "{\"type\":\"partial\",\"version\":1,\"n\":4,\"at\":\"2026-08-22T09:41:07.123Z\"}\n",
    )
    .unwrap();
    let look = || {
        let ran = sandbox.run(&["health", "--json", "--offline", "--only", "interrupted"]);
        (
            ran.code,
            probe_of(&json(&ran), "interrupted")["code"].clone(),
        )
    };
    assert_eq!(look(), (1, "interrupted-turns".into()));
    let held_by = sandbox.data_dir().join(format!("run/turn-{id}.lock"));
    let held = std::fs::File::create(&held_by).unwrap();
    held.lock().unwrap();
    assert_eq!(look(), (0, Value::Null));
    drop(held);
    std::fs::remove_file(&held_by).unwrap();
    assert_eq!(look(), (1, "interrupted-turns".into()));
    assert!(!held_by.exists(), "a look leaves no lock file");
}

#[cfg(unix)]
#[test]
fn what_others_can_read_is_found() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_server, sandbox) = lived_in([]);
    let look = || {
        let ran = sandbox.run(&["health", "--json", "--offline", "--only", "permissions"]);
        (
            ran.code,
            probe_of(&json(&ran), "permissions")["remedy"].clone(),
        )
    };
    assert_eq!(look(), (0, Value::Null));
    let data = sandbox.data_dir();
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (code, remedy) = look();
    assert_eq!(code, 1);
    assert!(
        remedy
            .as_str()
            .unwrap()
            .starts_with(&format!("chmod 700 {}", data.display()))
    );
    let config = sandbox.path().join("config/pachat");
    let dotenv = config.join(".env");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(&dotenv, "OPENROUTER_API_KEY=x\n").unwrap();
    for (mode, exit) in [(0o644, 2), (0o600, 1)] {
        std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::set_permissions(&dotenv, std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(look().0, exit, "{:?}", look());
    }
}

/// Lines of the log for requests that ended so long ago, with these exit codes.
fn write_log(sandbox: &Sandbox, lines: &[(i64, u8)]) {
    let now = pachat::platform::Clock::now(sandbox.clock.as_ref());
    let mut text = String::new();
    for (minutes, code) in lines {
        let at = now - SignedDuration::from_mins(*minutes) - SignedDuration::from_secs(1);
        let (level, state) = if *code == 0 {
            ("INFO", "complete")
        } else {
            ("ERROR", "error")
        };
        let error = if *code == 0 {
            ""
        } else {
            " error=\"no answer\""
        };
        text.push_str(&format!(
            "{at:.3} {level} request API response time first_byte_ms=100 total_ms=400 model=one state={state} exit_code={code} prompt_tokens=10 completion_tokens=2 cost=0.01 host=h{error} pid=1\n"
        ));
    }
    let logs = sandbox.data_dir().join("logs");
    std::fs::create_dir_all(&logs).unwrap();
    std::fs::write(logs.join("app.log"), text).unwrap();
}

#[test]
fn requests_are_counted_from_the_log() {
    let (_server, sandbox) = lived_in([]);
    write_log(&sandbox, &[(6000, 0), (300, 0), (30, 0), (20, 69), (10, 0)]);
    let ran = sandbox.run(&["health", "--json", "--offline", "--only", "requests"]);
    assert_eq!(ran.code, 0, "{}", ran.stdout);
    let report = json(&ran);
    let statistics = &report["statistics"];
    let counts = |name: &str| statistics["hour"][name].clone();
    assert_eq!(counts("requests"), 3);
    assert_eq!(counts("failed"), 1);
    assert_eq!(counts("total_ms")["p95"], 400);
    assert_eq!(counts("first_byte_ms")["average"], 100);
    assert_eq!(statistics["day"]["requests"], 4);
    assert_eq!(statistics["week"]["requests"], 5);
    assert_eq!(statistics["week"]["cost"], "0.05");
    assert_eq!(statistics["week"]["prompt_tokens"], 50);
    assert_eq!(statistics["last_failure"]["error"], "no answer");
    // What fails most of the time is degraded, and what has been mended is not.
    write_log(&sandbox, &[(50, 0), (40, 69), (30, 69), (20, 69)]);
    let ran = sandbox.run(&["health", "--json", "--offline", "--only", "requests"]);
    assert_eq!(ran.code, 1);
    assert_eq!(probe_of(&json(&ran), "requests")["code"], "many-failures");
    write_log(
        &sandbox,
        &[(500, 69), (400, 69), (300, 69), (200, 69), (10, 0)],
    );
    assert_eq!(
        sandbox
            .run(&["health", "--offline", "--only", "requests"])
            .code,
        0
    );
}

#[test]
fn only_and_skip_choose_and_a_slip_is_told() {
    let sandbox = home(&FakeServer::nobody());
    let names = |args: &[&str]| -> Vec<String> {
        let ran = sandbox.run(&[&["health", "--offline"], args].concat());
        let rows = ran.stdout.lines().skip(1);
        rows.map(|row| row.split('\t').next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&["--only", "clock,memory"]), ["memory", "clock"]);
    assert_eq!(
        names(&["--only", "clock,memory", "--skip", "memory"]),
        ["clock"]
    );
    assert_eq!(names(&["--skip", "key"]).len(), 12);
    let ran = sandbox.run(&["health", "--only", "memroy"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("'memory'"), "{}", ran.stderr);
    let ran = sandbox.run(&["health", "--only", "key", "--skip", "key"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("nothing to look at"), "{}", ran.stderr);
}

#[test]
fn cron_hears_nothing_of_the_healthy_and_one_line_of_the_others() {
    let (_server, sandbox) = lived_in([]);
    let ran = sandbox.run(&["health", "--offline", "--quiet", "--skip", "backup"]);
    assert_eq!(
        (ran.code, ran.stdout.as_str(), ran.stderr.as_str()),
        (0, "", "")
    );
    let ran = sandbox.run(&["health", "--offline", "--quiet"]);
    assert_eq!(ran.code, 1);
    assert_eq!(ran.stdout.lines().count(), 1, "{}", ran.stdout);
    assert!(
        ran.stdout.starts_with("pachat health: DEGRADED: backup: "),
        "{}",
        ran.stdout
    );
    assert_eq!(ran.stderr, "");
}

#[test]
fn a_person_sees_words_causes_and_remedies() {
    let (_server, sandbox) = lived_in([]);
    let cues = Cues {
        clock: Arc::clone(&sandbox.clock),
        terminal: true,
        ..Cues::default()
    };
    let ran = sandbox.run_on(&cues, &["health", "--offline", "--color", "never"], "");
    assert_eq!(ran.code, 1);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines[0], "DEGRADED  1 of 13 probes: backup");
    let at = lines
        .iter()
        .position(|line| line.starts_with("degraded   backup"))
        .unwrap();
    let below = lines[at + 1..].join(
        "
",
    );
    let cause = below.find("  cause: there are conversations").unwrap();
    let remedy = below.find("  remedy: pachat backup").unwrap();
    assert!(cause < remedy, "{below}");
    assert!(ran.stdout.contains("LAST  REQUESTS"), "{}", ran.stdout);
    for line in &lines {
        assert!(
            line.chars().count() <= 80 || line.contains("/data/pachat"),
            "{line}"
        );
    }
    let cues = Cues {
        stdout: Captured::default(),
        ..cues
    };
    let ran = sandbox.run_on(&cues, &["health", "--offline", "--color", "always"], "");
    assert!(
        ran.stdout.starts_with("\x1b[33mDEGRADED  \x1b[0m1 of 13"),
        "{:?}",
        ran.stdout
    );
    assert!(
        ran.stdout.contains("\x1b[32mok         \x1b[0mconfig"),
        "{:?}",
        ran.stdout
    );
}

/// The exposition format as its description has it: HELP and TYPE before samples, each family
/// once, names and labels of the allowed form, numbers that parse, no sample twice.
fn check_exposition(text: &str) -> usize {
    let is_name = |name: &str| {
        name.starts_with("pachat_")
            && name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
    };
    assert!(text.ends_with('\n'));
    let (mut families, mut samples) = (Vec::new(), Vec::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, about) = help.split_once(' ').unwrap();
            assert!(is_name(name) && !about.is_empty(), "{line}");
            assert_eq!(lines.next(), Some(format!("# TYPE {name} gauge").as_str()));
            assert!(!families.contains(&name), "{name} twice");
            families.push(name);
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let name = series.split('{').next().unwrap();
        assert_eq!(families.last(), Some(&name), "{line}");
        assert!(value.parse::<f64>().is_ok(), "{line}");
        if let Some(labels) = series.strip_prefix(&format!("{name}{{")) {
            let labels = labels.strip_suffix("\"}").unwrap();
            for label in labels.split("\",") {
                let (label, _) = label.split_once("=\"").unwrap();
                assert!(label.chars().all(|c| c.is_ascii_lowercase()), "{line}");
            }
        }
        assert!(!samples.contains(&series), "{series} twice");
        samples.push(series);
    }
    samples.len()
}

#[test]
fn prometheus_gets_what_its_format_allows() {
    let (_server, sandbox) = lived_in([Script::json(200, MODELS)]);
    write_log(&sandbox, &[(30, 0), (20, 69)]);
    let ran = sandbox.run(&["health", "--prometheus"]);
    assert_eq!(ran.code, 1, "{}{}", ran.stdout, ran.stderr);
    assert!(check_exposition(&ran.stdout) > 40, "{}", ran.stdout);
    for line in [
        "pachat_health_status 1",
        "pachat_probe_status{probe=\"backup\"} 1",
        "pachat_probe_problem{probe=\"backup\",code=\"no-backup\"} 1",
        "pachat_requests{window=\"hour\"} 2",
        "pachat_requests_failed{window=\"hour\"} 1",
        "pachat_response_seconds{window=\"hour\",phase=\"total\",statistic=\"p95\"} 0.4",
        "pachat_cost_usd{window=\"day\"} 0.02",
        "pachat_conversations 1",
    ] {
        assert!(
            ran.stdout.lines().any(|own| own == line),
            "{line}\n{}",
            ran.stdout
        );
    }
}

/// The same, as the client library of Prometheus reads it. Run where that is installed:
/// `cargo test --test health -- --ignored`.
#[test]
#[ignore = "wants python3 with prometheus_client"]
fn prometheus_own_parser_reads_it() {
    let (_server, sandbox) = lived_in([Script::json(200, MODELS)]);
    write_log(&sandbox, &[(30, 0), (20, 69)]);
    let file = sandbox.path().join("pachat.prom");
    sandbox.run(&["health", "--prometheus", "-o", file.to_str().unwrap()]);
    let program = "import sys\nfrom prometheus_client.parser import text_string_to_metric_families as p\nfor f in p(open(sys.argv[1]).read()):\n    for s in f.samples: print(s.name, s.value)\n";
    // The system's own: what its packages install is not there for another one in PATH.
    let output = std::process::Command::new("/usr/bin/python3")
        .args(["-c", program, file.to_str().unwrap()])
        .output()
        .unwrap();
    let (said, failed) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{failed}");
    let text = std::fs::read_to_string(&file).unwrap();
    let samples = text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(said.lines().count(), samples);
}

#[cfg(unix)]
#[test]
fn a_file_is_replaced_at_once_and_keeps_its_permissions() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let (_server, sandbox) = lived_in([]);
    let file = sandbox.path().join("health.json");
    let args = ["health", "--offline", "--json", "--output", "health.json"];
    let ran = sandbox.run(&args);
    assert_eq!(ran.code, 1);
    // The document is in the file; what is wrong is also told.
    assert!(
        ran.stdout.starts_with("pachat health: DEGRADED: "),
        "{}",
        ran.stdout
    );
    let look = || {
        let stat = std::fs::metadata(&file).unwrap();
        (stat.permissions().mode() & 0o777, stat.ino())
    };
    let (mode, inode) = look();
    assert_eq!(mode, 0o600);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    sandbox.run(&args);
    let (mode, new_inode) = look();
    assert_eq!(mode, 0o644);
    assert_ne!(inode, new_inode);
    let report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(report["status"], "DEGRADED");
    let names: Vec<_> = std::fs::read_dir(sandbox.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(".health"))
        .collect();
    assert!(names.is_empty(), "{names:?}");
    let ran = sandbox.run(&["health", "--offline", "--output", "missing/health.json"]);
    assert_eq!(ran.code, 73, "{}", ran.stderr);
}

/// A server that is well for some looks, then ends the watch with Ctrl-C at the last.
fn changing(answers: Vec<u16>, signals: pachat::platform::Signals) -> FakeServer {
    let asked = AtomicUsize::new(0);
    FakeServer::deciding(move |_| {
        let number = asked.fetch_add(1, Ordering::SeqCst);
        let status = answers.get(number).or(answers.last()).copied().unwrap();
        let script = match status {
            200 => Script::json(200, MODELS),
            status => Script::json(status, r#"{"error":{"message":"no"}}"#),
        };
        if number + 1 < answers.len() {
            return script;
        }
        let signals = signals.clone();
        script.step(Step::Do(Arc::new(move || signals.raise_interrupt())))
    })
}

#[test]
fn a_watch_in_a_pipe_has_a_line_for_each_change() {
    let cues = Cues::default();
    // The last answer comes with Ctrl-C, so that look need not come to its end.
    let server = changing(vec![200, 200, 429, 429, 200, 200], cues.signals.clone());
    let sandbox = home(&server.base_url());
    let told = sandbox.path().join("told");
    let command = format!("echo \"$1 $2 $(cat)\" >> '{}'", told.display());
    let ran = sandbox.run_on(
        &cues,
        &[
            "health",
            "--only",
            "server",
            "--watch",
            "60",
            "--on-change",
            &command,
        ],
        "",
    );
    let lines: Vec<&str> = ran
        .stdout
        .lines()
        .map(|line| line.split_once('\t').unwrap().1)
        .collect();
    assert_eq!(lines.len(), 3, "{}", ran.stdout);
    assert_eq!((lines[0], lines[2]), ("HEALTHY", "HEALTHY"));
    assert!(lines[1].starts_with("DEGRADED: server: "), "{}", lines[1]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(ran.stderr, "");
    let told = std::fs::read_to_string(&told).unwrap();
    let told: Vec<&str> = told.lines().collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].starts_with("HEALTHY DEGRADED DEGRADED: server: "),
        "{}",
        told[0]
    );
    assert_eq!(told[1], "DEGRADED HEALTHY HEALTHY");
    assert!(cues.clock.waited() >= Duration::from_secs(240));
}

#[test]
fn a_watch_ends_with_the_last_status() {
    let cues = Cues::default();
    let server = changing(vec![401, 401, 401], cues.signals.clone());
    let sandbox = home(&server.base_url());
    let ran = sandbox.run_on(&cues, &["health", "--only", "server", "--watch", "5"], "");
    assert_eq!((ran.code, ran.stderr.as_str()), (2, ""));
    assert_eq!(ran.stdout.lines().count(), 1, "{}", ran.stdout);
}

/// What `--on-change` runs: one step after the other, whatever the command is.
struct Steps(Mutex<Vec<OnChange>>);

type OnChange = Box<dyn FnOnce() -> io::Result<()> + Send>;

impl Programs for Steps {
    fn capture(&self, _: &str, _: Option<Duration>) -> io::Result<program::Captured> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn run(
        &self,
        _: &OsStr,
        _: &[OsString],
        _: &[u8],
        limit: Option<Duration>,
    ) -> io::Result<Ended> {
        assert_eq!(limit, Some(Duration::from_secs(60)));
        let step = self.0.lock().unwrap().remove(0);
        step()?;
        Ok(Ended {
            code: Some(0),
            ..Ended::default()
        })
    }
    fn edit(&self, _: &str, _: &Path) -> io::Result<bool> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[test]
fn a_watch_reads_the_settings_anew_and_outlives_broken_ones() {
    let (server, mut sandbox) = lived_in([]);
    sandbox.variables.clear();
    sandbox.set("PACHAT_OPENROUTER_API_KEY", "test-key-0123456789");
    let file = sandbox.data_dir().join("config/app_config.json");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let write = move |text: String| std::fs::write(&file, text).unwrap();
    let second = FakeServer::deciding(|_| Script::json(200, MODELS));
    let address = second.base_url();
    let (change, address_of_second) = (write.clone(), address.clone());
    let first = FakeServer::deciding(move |_| {
        change(format!(
            r#"{{"api": {{"base_url": "{address_of_second}"}}}}"#
        ));
        Script::json(401, "{}")
    });
    write(format!(
        r#"{{"api": {{"base_url": "{}"}}}}"#,
        first.base_url()
    ));
    let cues = Cues {
        clock: Arc::clone(&sandbox.clock),
        ..Cues::default()
    };
    let (break_it, mend, signals) = (write.clone(), write, cues.signals.clone());
    let limits = r#""limits": {"conversations": 1}"#;
    sandbox.programs = Some(Arc::new(Steps(Mutex::new(vec![
        Box::new(move || {
            break_it("{\"api\": ".into());
            // A watch goes on, whatever becomes of the one that it told.
            Err(io::ErrorKind::TimedOut.into())
        }),
        Box::new(move || {
            mend(format!(
                r#"{{"api": {{"base_url": "{address}"}}, {limits}}}"#
            ));
            Ok(())
        }),
        Box::new(move || {
            signals.raise_interrupt();
            Ok(())
        }),
    ]))));
    let args = [
        "health",
        "--only",
        "config,server,store",
        "--watch",
        "60",
        "--on-change",
        "x",
    ];
    let ran = sandbox.run_on(&cues, &args, "");
    assert_eq!(ran.code, 1, "{}", ran.stdout);
    let late = "the command of --on-change took longer than 60 s, and was ended";
    assert!(ran.stderr.contains(late), "{}", ran.stderr);
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    let words: Vec<&str> = ran
        .stdout
        .lines()
        .map(|line| line.split_once('\t').unwrap().1)
        .collect();
    assert_eq!(words.len(), 4, "{}", ran.stdout);
    assert!(words[0].starts_with("UNHEALTHY: server: "), "{}", words[0]);
    assert_eq!(words[1], "HEALTHY");
    // Nobody knows which server it would have been, so none was asked.
    assert!(words[2].starts_with("UNHEALTHY: config: "), "{}", words[2]);
    assert!(!words[2].contains("; server: "), "{}", words[2]);
    assert!(words[3].starts_with("DEGRADED: store: "), "{}", words[3]);
    assert_eq!((first.requests().len(), second.requests().len()), (1, 2));
    drop(server);
}

#[test]
fn a_watch_tells_of_a_place_that_goes_away_and_comes_back() {
    let (_server, mut sandbox) = lived_in([]);
    let made = sandbox.run(&["backup"]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    let now = Timestamp::now().to_string();
    sandbox.clock = Arc::new(TestClock::at(&now).faster(20));
    let cues = Cues {
        clock: Arc::clone(&sandbox.clock),
        ..Cues::default()
    };
    let data = sandbox.data_dir();
    let is_away = Arc::new(AtomicUsize::new(0));
    let asked = Arc::clone(&is_away);
    let (gate, disk) = HangingDisk::hanging(move |_, path| {
        path.starts_with(&data) && asked.load(Ordering::SeqCst) == 1
    });
    sandbox.disk = disk;
    let signals = cues.signals.clone();
    let back = {
        let (is_away, gate) = (Arc::clone(&is_away), gate.clone());
        move || {
            is_away.store(0, Ordering::SeqCst);
            gate.open();
            Ok(())
        }
    };
    sandbox.programs = Some(Arc::new(Steps(Mutex::new(vec![
        Box::new(back),
        Box::new(move || {
            signals.raise_interrupt();
            Ok(())
        }),
    ]))));
    let args = ["health", "--offline", "--watch", "60", "--on-change", "x"];
    let ran = std::thread::scope(|scope| {
        let ran = scope.spawn(|| sandbox.run_on(&cues, &args, ""));
        assert!(cues.stdout.wait_for("HEALTHY"));
        is_away.store(1, Ordering::SeqCst);
        ran.join().unwrap()
    });
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{}", ran.stdout);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{}", ran.stdout);
    assert!(lines[1].contains("UNHEALTHY: data-dir: "), "{}", lines[1]);
    assert!(lines[2].ends_with("HEALTHY"), "{}", lines[2]);
}

#[test]
fn a_watch_on_a_terminal_writes_over_itself() {
    let cues = Cues {
        terminal: true,
        ..Cues::default()
    };
    let server = changing(vec![200, 200, 401, 401], cues.signals.clone());
    let sandbox = home(&server.base_url());
    let ran = sandbox.run_on(
        &cues,
        &[
            "health", "--only", "server", "--watch", "5", "--color", "never",
        ],
        "",
    );
    let frames: Vec<&str> = ran.stdout.split("\x1b[J").collect();
    assert!(frames.len() > 3, "{:?}", ran.stdout);
    assert!(
        frames[0].starts_with("HEALTHY  1 probe\x1b[K\n"),
        "{:?}",
        frames[0]
    );
    assert!(frames[1].starts_with("\r\x1b[3AHEALTHY"), "{:?}", frames[1]);
    let last = frames[2];
    assert!(last.starts_with("\r\x1b[3AUNHEALTHY"), "{last:?}");
    for line in last.lines() {
        assert!(line.replace("\x1b[K", "").chars().count() <= 85, "{line:?}");
    }
}

#[test]
fn a_reader_that_goes_away_ends_quietly() {
    let (_server, sandbox) = lived_in([]);
    let cues = Cues {
        clock: Arc::clone(&sandbox.clock),
        stdout: Captured::closing_after(0),
        ..Cues::default()
    };
    let ran = sandbox.run_on(&cues, &["health", "--offline"], "");
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
}

/// Whether an operation on a path hangs.
type Hangs = Box<dyn Fn(&str, &Path) -> bool + Send + Sync>;

/// A disk that hangs in some operations, as a dead network file system does, until the test lets
/// it go, and denies others.
struct HangingDisk {
    gate: Gate,
    hangs: Hangs,
    denies: Hangs,
}

impl HangingDisk {
    /// One that does not answer below any of these places.
    fn dead_below(places: &[PathBuf]) -> (Gate, Arc<dyn Disk>) {
        let places = places.to_vec();
        Self::hanging(move |_, path| places.iter().any(|place| path.starts_with(place)))
    }

    fn hanging(
        hangs: impl Fn(&str, &Path) -> bool + Send + Sync + 'static,
    ) -> (Gate, Arc<dyn Disk>) {
        let (gate, hangs) = (Gate::default(), Box::new(hangs));
        let disk = Self {
            gate: gate.clone(),
            hangs,
            denies: Box::new(|_, _| false),
        };
        (gate, Arc::new(disk))
    }

    fn pass(&self, operation: &str, path: &Path) -> io::Result<()> {
        if (self.hangs)(operation, path) {
            self.gate.wait();
        }
        if (self.denies)(operation, path) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(())
    }
}

impl Disk for HangingDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>> {
        self.pass("open", path)?;
        RealDisk.open(path, how)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.pass("create_dir", path)?;
        RealDisk.create_dir(path)
    }
    fn read_dir(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.pass("read_dir", path)?;
        RealDisk.read_dir(path)
    }
    fn stat(&self, path: &Path) -> io::Result<Stat> {
        self.pass("stat", path)?;
        RealDisk.stat(path)
    }
    fn rename(&self, path: &Path, to: &Path) -> io::Result<()> {
        self.pass("rename", path)?;
        RealDisk.rename(path, to)
    }
    fn hard_link(&self, path: &Path, to: &Path) -> io::Result<()> {
        self.pass("hard_link", path)?;
        RealDisk.hard_link(path, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.pass("remove_file", path)?;
        RealDisk.remove_file(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.pass("remove_dir", path)?;
        RealDisk.remove_dir(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.pass("sync_dir", path)?;
        RealDisk.sync_dir(path)
    }
    fn sync_tree(&self, path: &Path) -> io::Result<()> {
        self.pass("sync_tree", path)?;
        RealDisk.sync_tree(path)
    }
    fn free_space(&self, path: &Path) -> io::Result<Option<u64>> {
        self.pass("free_space", path)?;
        RealDisk.free_space(path)
    }
    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.pass("set_mode", path)?;
        RealDisk.set_mode(path, mode)
    }
    fn walk(&self, path: &Path) -> io::Result<Vec<Walked>> {
        self.pass("walk", path)?;
        RealDisk.walk(path)
    }
}

#[test]
fn a_probe_that_hangs_holds_up_nobody() {
    let (_server, mut sandbox) = lived_in([]);
    let (gate, disk) = HangingDisk::hanging(|operation, path| {
        // It answers, and then no more.
        operation == "read_dir" && path.ends_with("backups")
    });
    sandbox.disk = disk;
    let now = Timestamp::now().to_string();
    sandbox.clock = Arc::new(TestClock::at(&now).faster(10));
    let ran = sandbox.run(&["health", "--offline", "--json", "--only", "backup,config"]);
    gate.open();
    assert_eq!(ran.code, 2);
    let report = json(&ran);
    assert_eq!(probe_of(&report, "config")["status"], "ok");
    let probe = probe_of(&report, "backup");
    assert_eq!(probe["code"], "probe-timeout");
    assert!(
        probe["remedy"]
            .as_str()
            .unwrap()
            .contains("network file system"),
        "{probe}"
    );
}

/// A home of which some places give no answer until the gate opens, with a clock that makes
/// waiting short.
fn dead(places: &[&str]) -> (FakeServer, Sandbox, Gate) {
    let (server, mut sandbox) = lived_in([]);
    let places: Vec<PathBuf> = places
        .iter()
        .map(|place| sandbox.path().join(place))
        .collect();
    let (gate, disk) = HangingDisk::dead_below(&places);
    sandbox.disk = disk;
    let now = Timestamp::now().to_string();
    sandbox.clock = Arc::new(TestClock::at(&now).faster(20));
    (server, sandbox, gate)
}

#[test]
fn a_data_directory_that_gives_no_answer_is_told_and_holds_up_nobody() {
    let (server, sandbox, gate) = dead(&["data"]);
    let asked = server.requests().len();
    let path = sandbox.data_dir();
    let path = path.to_str().unwrap();
    let ran = sandbox.run(&["health", "--json"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (2, ""));
    let report = json(&ran);
    let found = (2, probe_of(&report, "data-dir").clone());
    assert_code(&found, "no-answer", &format!("{path} gave no answer"));
    assert!(found.1["remedy"].as_str().unwrap().contains("mounted anew"));
    // Where the settings are not known, nobody is asked anything, least of all with a key.
    for name in ["config", "key", "server", "model", "store", "backup"] {
        let probe = probe_of(&report, name);
        assert_eq!(probe["status"], "skipped", "{probe}");
        assert!(probe["value"].as_str().unwrap().contains(path), "{probe}");
    }
    assert_eq!(server.requests().len(), asked);
    assert_eq!(probe_of(&report, "clock")["status"], "ok");
    let ran = sandbox.run(&["health", "--quiet"]);
    assert_eq!((ran.code, ran.stdout.lines().count()), (2, 1));
    assert!(ran.stdout.contains(path), "{}", ran.stdout);
    let ran = sandbox.run(&["health", "--prometheus", "--output", "x.prom"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    let metrics = std::fs::read_to_string(sandbox.path().join("x.prom")).unwrap();
    let metric = "pachat_probe_problem{probe=\"data-dir\",code=\"no-answer\"} 1";
    assert!(metrics.contains(metric), "{metrics}");
    // It is no look without its settings, whatever else was to be left out.
    let ran = sandbox.run(&["health", "--only", "memory"]);
    assert_eq!(ran.code, 2, "{}", ran.stdout);
    assert!(ran.stdout.contains("data-dir\tunhealthy"), "{}", ran.stdout);
    gate.open();
    let ran = sandbox.run(&["health", "--json", "--only", "data-dir"]);
    assert_eq!(ran.code, 0, "{}", ran.stdout);
}

#[test]
fn each_place_that_gives_no_answer_is_told_by_its_own_probe() {
    for (place, name, more) in [
        ("config/pachat", "config", &[][..]),
        (
            "elsewhere.json",
            "config",
            &["--config-file", "elsewhere.json"],
        ),
        ("variables", "config", &["--env-file", "variables"]),
        ("key", "key", &["--api-key-file", "key"]),
        ("data/pachat/backups", "backup", &[]),
    ] {
        let (_server, sandbox, gate) = dead(&[place]);
        for name in ["elsewhere.json", "variables", "key"] {
            std::fs::write(sandbox.path().join(name), "{}").unwrap();
        }
        let args = ["health", "--json", "--offline"];
        let ran = sandbox.run(&[more, &args].concat());
        gate.open();
        assert_eq!((ran.code, ran.stderr.as_str()), (2, ""), "{place}");
        let report = json(&ran);
        let found = (2, probe_of(&report, name).clone());
        assert_code(&found, "no-answer", place);
        assert_eq!(probe_of(&report, "data-dir")["status"], "ok", "{place}");
    }
}

#[test]
fn ctrl_c_ends_a_look_at_a_place_that_gives_no_answer() {
    let mut sandbox = Sandbox::new();
    let cues = Cues {
        // No time passes: only the signal can end it.
        clock: Arc::new(TestClock::new().faster(0)),
        ..Cues::default()
    };
    let (data, signals) = (sandbox.path().join("data"), cues.signals.clone());
    let (gate, disk) = HangingDisk::hanging(move |_, path| {
        let is_dead = path.starts_with(&data);
        if is_dead {
            signals.raise_interrupt();
        }
        is_dead
    });
    sandbox.disk = disk;
    let ran = sandbox.run_on(&cues, &["health"], "");
    gate.open();
    assert_eq!((ran.code, ran.stdout.as_str()), (130, ""));
}

#[test]
fn a_disk_that_takes_nothing_is_unhealthy() {
    let (_server, sandbox) = lived_in([]);
    let run = sandbox.data_dir().join("run");
    std::fs::remove_dir_all(&run).unwrap();
    // Nothing is made for the trial: without `run/` its parent serves.
    let look = || sandbox.run(&["health", "--offline", "--json", "--only", "data-dir"]);
    let ran = look();
    assert_eq!(ran.code, 0, "{}", ran.stdout);
    assert!(!run.exists());
    // A process of root may write anywhere, so something else has to be in the way.
    std::fs::remove_dir_all(sandbox.data_dir()).unwrap();
    std::fs::write(sandbox.data_dir(), "not a directory").unwrap();
    let ran = look();
    assert_eq!(ran.code, 2, "{}", ran.stdout);
    assert_eq!(probe_of(&json(&ran), "data-dir")["status"], "unhealthy");
}

#[test]
fn a_look_leaves_no_trace() {
    let (_server, sandbox) = lived_in([Script::json(200, MODELS)]);
    let files = || {
        let mut found = Vec::new();
        let mut stack = vec![sandbox.data_dir()];
        while let Some(directory) = stack.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    stack.push(path);
                } else {
                    let content = std::fs::read(&path).unwrap();
                    found.push((path, content));
                }
            }
        }
        found.sort();
        found
    };
    let before = files();
    let ran = sandbox.run(&["health"]);
    assert_eq!(ran.code, 1, "{}", ran.stdout);
    assert_eq!(files(), before);
}

#[test]
fn a_clock_that_cannot_be_right_is_told() {
    let (_server, mut sandbox) = lived_in([]);
    let id = sandbox.conversations()[0][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = sandbox
        .data_dir()
        .join(format!("conversations/active/{id}.jsonl"));
    let changed: std::time::SystemTime =
        "2026-08-22T12:00:00Z".parse::<Timestamp>().unwrap().into();
    let file = std::fs::File::options().append(true).open(&path).unwrap();
    file.set_modified(changed).unwrap();
    for (now, exit, code) in [
        ("1970-01-01T00:05:00Z", 2, "clock-wrong".into()),
        ("2026-08-20T12:00:00Z", 1, "clock-behind-files".into()),
        ("2026-08-22T12:00:01Z", 0, Value::Null),
    ] {
        sandbox.clock = Arc::new(TestClock::at(now));
        let ran = sandbox.run(&["health", "--offline", "--json", "--only", "clock"]);
        assert_eq!(ran.code, exit, "{now}: {}", ran.stdout);
        assert_eq!(probe_of(&json(&ran), "clock")["code"], code);
    }
}

#[test]
fn as_many_requests_as_are_allowed_are_told() {
    let (server, sandbox) = lived_in([]);
    sandbox.run(&["config", "set", "limits.requests_per_minute", "3"]);
    let port = server
        .base_url()
        .rsplit(':')
        .next()
        .unwrap()
        .replace("/v1", "");
    let rate = sandbox
        .data_dir()
        .join(format!("run/rate-127.0.0.1-{port}"));
    let now = pachat::platform::Clock::now(sandbox.clock.as_ref()).as_millisecond();
    for (times, exit) in [
        (vec![now - 70_000, now - 9, now - 8], 0),
        (vec![now - 9; 3], 1),
    ] {
        let lines: Vec<String> = times.iter().map(|time| format!("{time}\n")).collect();
        std::fs::write(&rate, lines.concat()).unwrap();
        let ran = sandbox.run(&["health", "--offline", "--json", "--only", "rate"]);
        assert_eq!(ran.code, exit, "{}", ran.stdout);
    }
}

#[test]
fn a_model_that_goes_away_is_announced() {
    for (end, exit, code) in [
        ("2026-08-01", 2, "model-gone".into()),
        ("2026-08-30", 1, "model-goes".into()),
        ("2027-08-30", 0, Value::Null),
    ] {
        let models = format!(r#"{{"data":[{{"id":"one","expiration_date":"{end}"}}]}}"#);
        let (_server, mut sandbox) = served([Script::json(200, &models)]);
        sandbox.clock = Arc::new(TestClock::new());
        sandbox.run(&["config", "set", "chat.model", "one"]);
        let found = look(&sandbox, "model", &[]);
        assert_eq!((found.0, &found.1["code"]), (exit, &code), "{end}");
    }
}

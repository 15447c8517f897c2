//! Rows 53 to 56, 70 and 77: the way to the server, and time.

use std::net::TcpListener;
use std::sync::Arc;

use crate::common::host::Sandbox;
use crate::common::server::{FINISHED, FakeServer, Script, Step, delta};
use crate::stage::{KEY, Seen, Stage, pass, shown};
use crate::{Row, row};

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row(
            53,
            "no such name, refused, unreachable, bad certificate",
            unreachable,
        ),
        row(54, "headers never come", || {
            let stage =
                Stage::cued(|cues| vec![Script::raw().step(pass(cues, 700)).step(Step::HangUp)]);
            stage
                .send(&[])
                .stdout("")
                .code(69)
                .says("did not begin to answer within 10 min")
                .says("timeouts.first_byte_seconds")
                .stored(&["user=x"])
                .asked(1);
        }),
        row(55, "a byte every ten seconds", || {
            let event = format!("data: {}\n\ndata: {FINISHED}\n\n", delta("Hello"));
            let (slow, rest) = event.split_at(55);
            let stage = Stage::cued(|cues| {
                let script = slow.bytes().fold(Script::stream(), |script, byte| {
                    script.send([byte]).step(pass(cues, 10))
                });
                vec![script.send(rest).event("[DONE]")]
            });
            stage.send(&[]).stdout("Hello\n").code(0).silent().asked(1);
            // But bytes that never become an event are no better than comments.
            let drip = Script::stream()
                .step(Step::Drip(slow.into()))
                .step(Step::HangUp);
            Stage::in_quick_time(drip)
                .send(&[])
                .stdout("")
                .code(69)
                .says("no text within 10 min")
                .stored(&["user=x"])
                .asked(1);
        }),
        row(56, "a stall in mid-content", || {
            let stage = Stage::cued(|cues| {
                let script = Script::stream()
                    .event(&delta("Hello"))
                    .step(shown(cues, "Hello"));
                vec![script.step(pass(cues, 700)).step(Step::HangUp)]
            });
            stage
                .send(&[])
                .stdout("Hello\n")
                .code(76)
                .says("the reply is incomplete: the server fell silent")
                .says("hint: what has arrived is kept")
                .stored(&["user=x", "assistant:error=Hello"])
                .asked(1);
        }),
        row(70, "forms of the base URL; http with a key", base_urls),
        row(77, "proxies, and NO_PROXY", proxies),
    ]
}

/// Asks whoever is at this address, once.
fn ask(base_url: &str, more: &[&str]) -> Seen {
    let sandbox = Sandbox::with_server(base_url);
    let args = [&["send", "-m", "a/b"], more, &["x"]].concat();
    Seen::new(sandbox.run(&args), sandbox.conversations(), Vec::new())
}

/// A server with a certificate that nobody has signed.
fn self_signed() -> String {
    let certificate = include_bytes!("self-signed.certificate.der").to_vec();
    let key =
        rustls::pki_types::PrivatePkcs8KeyDer::from(include_bytes!("self-signed.key.der").to_vec());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.into()], key.into())
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            // The client turns away in the middle of it.
            let _ = connection.complete_io(&mut stream);
        }
    });
    format!("https://{address}/v1")
}

fn unreachable() {
    let kept = &["user=x"];
    for (base_url, says) in [
        (
            "https://no-such-host.invalid/v1",
            "the name no-such-host.invalid is not known",
        ),
        ("https://255.255.255.255/v1", "there is no way to it"),
        (&*FakeServer::nobody(), "nothing listens there"),
    ] {
        ask(base_url, &["--no-retry"])
            .stdout("")
            .code(69)
            .says(says)
            .says("hint: ")
            .stored(kept);
    }
    // These are tried again; a certificate does not get better by that.
    ask(&FakeServer::nobody(), &[])
        .code(69)
        .retried(3)
        .stored(kept);
    ask(&self_signed(), &[])
        .stdout("")
        .code(69)
        .says("its certificate is not trusted")
        .says("check this machine's clock")
        .retried(0)
        .stored(kept);
    let plain = FakeServer::answering([Script::raw().send("HTTP/1.1 400 Bad Request\r\n\r\n")]);
    ask(&plain.base_url().replace("http://", "https://"), &[])
        .code(69)
        .says("should begin with http:// instead")
        .stored(kept);
    let ssh = FakeServer::answering([Script::raw()
        .send("SSH-2.0-OpenSSH_9.6\r\n")
        .step(Step::Cut)]);
    ask(&ssh.base_url(), &[])
        .code(76)
        .says("does not speak HTTP")
        .retried(0)
        .stored(kept);
}

fn base_urls() {
    for (typed, url) in [
        (
            "https://openrouter.ai",
            "https://openrouter.ai/api/v1/chat/completions",
        ),
        (
            "https://openrouter.ai/api/v1/",
            "https://openrouter.ai/api/v1/chat/completions",
        ),
        (
            " https://openrouter.ai/api/v1/chat/completions/ ",
            "https://openrouter.ai/api/v1/chat/completions",
        ),
        (
            "http://localhost:11434",
            "http://localhost:11434/v1/chat/completions",
        ),
        (
            "http://localhost:11434/v1",
            "http://localhost:11434/v1/chat/completions",
        ),
        (
            "https://example.com/llm//",
            "https://example.com/llm/chat/completions",
        ),
    ] {
        let sandbox = Sandbox::with_server(typed);
        let ran = sandbox.run(&["send", "-m", "a/b", "--dry-run", "x"]);
        let document: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(document["url"], url, "{typed}");
        assert!(!ran.stdout.contains(KEY));
    }
    for typed in [
        "openrouter.ai/api/v1",
        "ftp://example.com",
        "https://u:p@example.com/v1",
        "https://",
        "",
    ] {
        let sandbox = Sandbox::new();
        let ran = sandbox.run(&["send", "--base-url", typed, "-m", "a/b", "x"]);
        assert_eq!(ran.code, 78, "{typed}: {}", ran.stderr);
        assert!(!sandbox.data_dir().exists());
    }
    // Not a warning but a refusal: the key would be there for everybody in between to read.
    let sandbox = Sandbox::with_server("http://192.0.2.1/v1");
    let ran = sandbox.run(&["send", "-m", "a/b", "x"]);
    Seen::new(ran, sandbox.conversations(), Vec::new())
        .code(78)
        .says("the key is not sent over plain http")
        .says("--insecure-http");
    assert!(
        !sandbox.data_dir().exists(),
        "nothing is stored for a call that cannot be made"
    );
}

fn proxies() {
    let proxy = FakeServer::deciding(|request| {
        if request.method == "CONNECT" {
            Script::json(403, "no")
        } else {
            Script::reply("through the proxy")
        }
    });
    let address = proxy.base_url().trim_end_matches("/v1").to_owned();
    let far = |variables: &[(&str, &str)], base_url: &str| {
        let mut sandbox = Sandbox::with_server(base_url);
        for (name, value) in variables {
            sandbox.set(name, value);
        }
        let args = ["send", "-m", "a/b", "--insecure-http", "--no-retry", "x"];
        Seen::new(
            sandbox.run(&args),
            sandbox.conversations(),
            proxy.requests(),
        )
    };
    far(&[("http_proxy", &address)], "http://api.example.invalid/v1")
        .stdout("through the proxy\n")
        .code(0)
        .asked(1);
    assert_eq!(
        proxy.requests()[0].path,
        "http://api.example.invalid/v1/chat/completions"
    );
    // A tunnel that the proxy refuses; what goes through one is not for the proxy to see.
    far(
        &[("HTTPS_PROXY", &address)],
        "https://api.example.invalid/v1",
    )
    .code(69)
    .says("the proxy cannot be reached or does not let the connection through")
    .stored(&["user=x"])
    .asked(2);
    assert_eq!(proxy.requests()[1].path, "api.example.invalid:443");
    assert_eq!(proxy.requests()[1].header("authorization"), None);
    // Who decides about the request must not decide about the proxy, too (CGI).
    far(&[("HTTP_PROXY", &address)], "http://api.example.invalid/v1")
        .code(69)
        .asked(2);
    far(
        &[
            ("https_proxy", &address),
            ("NO_PROXY", "localhost,.example.invalid"),
        ],
        "https://api.example.invalid/v1",
    )
    .code(69)
    .says("the name api.example.invalid is not known")
    .asked(2);
    let near = FakeServer::answering([Script::reply("directly")]);
    far(&[("ALL_PROXY", &address)], &near.base_url())
        .stdout("directly\n")
        .code(0)
        .asked(2);
    let dead = FakeServer::nobody();
    far(
        &[("http_proxy", dead.trim_end_matches("/v1"))],
        "http://api.example.invalid/v1",
    )
    .code(69)
    .says("check HTTPS_PROXY and NO_PROXY");
}

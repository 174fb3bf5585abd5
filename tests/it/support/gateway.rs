//! A gateway in this process: a home of its own, a free port, no signals.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;

use openclaw::config::load;
use openclaw::gateway::{self, Exit, Gateway, RunOptions, Setup, State};
use openclaw::profile::env::Env;
use openclaw::profile::paths::Paths;
use openclaw::supervise::signals::Request;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::program::TOKEN;

/// A gateway that serves until it is dropped or stopped.
pub struct TestGateway {
    pub port: u16,
    /// Removed with the gateway.
    home: TempDir,
    pub state: Arc<State>,
    requests: mpsc::Sender<Request>,
    running: JoinHandle<Exit>,
}

impl TestGateway {
    /// Starts with a token and nothing else configured.
    pub async fn start() -> Self {
        Self::start_with(json!({})).await
    }

    /// Starts with `config` merged over the usual one; null removes a key, and
    /// `<home>` in a text is its home.
    pub async fn start_with(config: Value) -> Self {
        Self::start_with_env(config, &[]).await
    }

    /// As [`Self::start_with`], with variables in the environment.
    pub async fn start_with_env(config: Value, vars: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut whole =
            json!({"gateway": {"mode": "local", "auth": {"mode": "token", "token": TOKEN}}});
        merge(&mut whole, config);
        let dir = home.path().join(".openclaw");
        std::fs::create_dir_all(&dir).unwrap();
        let text = whole.to_string().replace("<home>", home.path().to_str().unwrap());
        std::fs::write(dir.join("openclaw.json"), text).unwrap();
        let built = Box::pin(Self::build(&home, vars, RunOptions::default())).await.unwrap();
        Self::serve(home, built)
    }

    /// Builds a gateway of the files in `home` without serving.
    pub async fn build(
        home: &TempDir,
        vars: &[(&str, &str)],
        options: RunOptions,
    ) -> Result<Gateway, gateway::StartError> {
        let mut env: Env = [("HOME", home.path().to_str().unwrap())].into_iter().collect();
        for (name, value) in vars {
            env.set(*name, *value);
        }
        let paths = Paths::resolve(&env);
        let snapshot = load::read(&paths, &env);
        let mut setup = Setup::new(snapshot, env, paths, options);
        setup.inherited = vec![TcpListener::bind(("127.0.0.1", 0)).unwrap()];
        gateway::build(setup).await
    }

    fn serve(home: TempDir, built: Gateway) -> Self {
        let port = built.addresses()[0].port();
        let state = Arc::clone(built.state());
        let (requests, receiver) = mpsc::channel(4);
        #[expect(clippy::disallowed_methods, reason = "the test waits for it in `stop`")]
        let running = tokio::spawn(built.run(receiver));
        Self { port, home, state, requests, running }
    }

    /// Stops it, unless it has ended by itself, and starts another over the
    /// same files.
    pub async fn again(self) -> Self {
        let _ended = self.requests.send(Request::Stop("SIGTERM")).await.is_err();
        self.running.await.unwrap();
        let built = Box::pin(Self::build(&self.home, &[], RunOptions::default())).await.unwrap();
        Self::serve(self.home, built)
    }

    /// The state directory.
    pub fn state_dir(&self) -> PathBuf {
        self.home.path().join(".openclaw")
    }

    /// Asks for a stop, as a signal would.
    pub async fn request(&self, request: Request) {
        self.requests.send(request).await.unwrap();
    }

    /// Stops it and waits for the end.
    pub async fn stop(self) -> Exit {
        self.request(Request::Stop("SIGTERM")).await;
        self.running.await.unwrap()
    }
}

/// Lays `from` over `into`, object by object; null removes a key.
pub fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                if value.is_null() {
                    into.remove(&key);
                } else {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (into, from) => *into = from,
    }
}

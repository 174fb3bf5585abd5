//! What a configuration file may say, case by case. The numbers are those of
//! the list of cases that the Node gateway was recorded with.

use std::fs;

use openclaw::config::{Snapshot, load};
use openclaw::profile::env::Env;
use openclaw::profile::paths::Paths;
use tempfile::TempDir;

struct Place {
    _home: TempDir,
    paths: Paths,
    env: Env,
}

impl Place {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let env: Env =
            [("HOME", home.path().to_str().unwrap()), ("INVOCATION_ID", "1")].into_iter().collect();
        let paths = Paths::resolve(&env);
        fs::create_dir_all(&paths.state).unwrap();
        Self { _home: home, paths, env }
    }

    fn read(&self, text: &str) -> Snapshot {
        load::evaluate(text.to_owned(), &self.paths, &self.env)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.paths.state.join(name), text).unwrap();
    }
}

/// A verdict: fine, or an issue at a path whose message has this part.
enum Verdict {
    Fine,
    /// Fine, with a warning that has this part.
    Warns(&'static str),
    Issue(&'static str, &'static str),
}

use Verdict::{Fine, Issue, Warns};

#[track_caller]
fn judge(name: &str, snapshot: &Snapshot, verdict: &Verdict) {
    let issues: Vec<String> = snapshot.issues.iter().map(ToString::to_string).collect();
    match verdict {
        Fine => assert!(issues.is_empty(), "{name}: {issues:?}"),
        Warns(part) => {
            assert!(issues.is_empty(), "{name}: {issues:?}");
            let warned = snapshot.warnings.iter().any(|warning| warning.message.contains(part));
            assert!(warned, "{name}: {:?}", snapshot.warnings);
        }
        Issue(path, part) => {
            let found = snapshot
                .issues
                .iter()
                .any(|issue| issue.shown_path() == *path && issue.message.contains(part));
            assert!(found, "{name}: no {path}: {part} in {issues:?}");
        }
    }
}

#[test]
fn cases_1_to_53_every_verdict() {
    let place = Place::new();
    let cases: &[(&str, &str, Verdict)] = &[
        ("1 nothing", "{}", Fine),
        (
            "2 an empty file",
            "",
            Issue("<root>", "JSON5 parse failed: SyntaxError: JSON5: invalid end of input at 1:1"),
        ),
        ("3 a list", "[]", Issue("<root>", "expected object, received array")),
        ("3 a text", "'hi'", Issue("<root>", "expected object, received string")),
        ("3 null", "null", Issue("<root>", "expected object, received null")),
        (
            "4 comments, bare keys, a comma at the end",
            "{ // c\n ui: {seamColor: '#aabbcc',}, /* d */ }",
            Fine,
        ),
        ("5 an open bracket", "{gateway:{port:1}", Issue("<root>", "invalid end of input at 1:18")),
        ("6 one unknown key", "{foo:1}", Issue("<root>", "Unrecognized key: \"foo\"")),
        ("7 two unknown keys", "{foo:1,bar:2}", Issue("<root>", "\"foo\", \"bar\"")),
        (
            "8 an unknown key below",
            "{gateway:{prot:1}}",
            Issue("gateway", "Unrecognized key: \"prot\""),
        ),
        (
            "9 a port in quotes",
            "{gateway:{port:'18789'}}",
            Issue("gateway.port", "expected number, received string"),
        ),
        ("9 port 0", "{gateway:{port:0}}", Issue("gateway.port", ">0")),
        ("9 half a port", "{gateway:{port:1.5}}", Issue("gateway.port", "expected int")),
        ("10 a port too high is the start's business", "{gateway:{port:99999}}", Fine),
        (
            "11 mode",
            "{gateway:{mode:'server'}}",
            Issue("gateway.mode", "(allowed: \"local\", \"remote\")"),
        ),
        ("11 bind", "{gateway:{bind:'eth0'}}", Issue("gateway.bind", "(allowed: ")),
        (
            "11 reload mode",
            "{gateway:{reload:{mode:'fast'}}}",
            Issue("gateway.reload.mode", "(allowed: "),
        ),
        (
            "11 auth mode",
            "{gateway:{auth:{mode:'basic'}}}",
            Issue("gateway.auth.mode", "(allowed: "),
        ),
        ("12 an address as bind", "{gateway:{bind:'0.0.0.0'}}", Fine),
        (
            "13 a negative pause",
            "{gateway:{reload:{debounceMs:-1}}}",
            Issue("gateway.reload.debounceMs", ">=0"),
        ),
        (
            "14 a number as token",
            "{gateway:{auth:{token:5}}}",
            Issue("gateway.auth.token", "Invalid input"),
        ),
        (
            "15 a variable in lower case",
            "{gateway:{auth:{token:{source:'env',provider:'default',id:'low'}}}}",
            Issue("gateway.auth.token.id", "Env secret reference id must match"),
        ),
        (
            "15 a stray key",
            "{gateway:{auth:{token:{source:'env',provider:'default',id:'A',x:1}}}}",
            Issue("gateway.auth.token", "Unrecognized key: \"x\""),
        ),
        (
            "15 no pointer",
            "{gateway:{auth:{token:{source:'file',provider:'default',id:'a'}}}}",
            Issue("gateway.auth.token.id", "absolute JSON pointer"),
        ),
        (
            "15 a way out",
            "{gateway:{auth:{token:{source:'exec',provider:'default',id:'a/../b'}}}}",
            Issue("gateway.auth.token.id", "must not include \".\" or \"..\""),
        ),
        (
            "16 stale before it is checked",
            "{gateway:{channelHealthCheckMinutes:10,channelStaleEventThresholdMinutes:5}}",
            Issue("gateway.channelStaleEventThresholdMinutes", ""),
        ),
        (
            "17 tailscale on the lan",
            "{gateway:{bind:'lan',tailscale:{mode:'serve'}}}",
            Issue("gateway.bind", "tailscale"),
        ),
        (
            "18 a reference as hook token",
            "{hooks:{token:{source:'env',provider:'default',id:'A'}}}",
            Issue("hooks.token", "SecretRef objects are not supported at hooks.token."),
        ),
        (
            "19 no such channel",
            "{channels:{foochat:{}}}",
            Issue("channels.foochat", "unknown channel id: foochat"),
        ),
        (
            "19 webchat is none",
            "{channels:{webchat:{}}}",
            Issue("channels.webchat", "unknown channel id: webchat"),
        ),
        (
            "20 open to nobody",
            "{channels:{telegram:{dmPolicy:'open'}}}",
            Issue("channels.telegram.allowFrom", ""),
        ),
        (
            "21 no such policy",
            "{channels:{telegram:{dmPolicy:'everyone'}}}",
            Issue("channels.telegram.dmPolicy", "\"pairing\""),
        ),
        (
            "22 an unknown key of telegram",
            "{channels:{telegram:{zzz:1}}}",
            Issue("channels.telegram", "Unrecognized key: \"zzz\""),
        ),
        (
            "23 a webhook without secret",
            "{channels:{telegram:{webhookUrl:'https://h/x'}}}",
            Issue("channels.telegram.webhookSecret", ""),
        ),
        (
            "23 slack over http without secret",
            "{channels:{slack:{mode:'http'}}}",
            Issue("channels.slack.signingSecret", ""),
        ),
        ("24 streamMode", "{channels:{telegram:{streamMode:'partial'}}}", Fine),
        ("24 groupMentionsOnly", "{channels:{telegram:{groupMentionsOnly:true}}}", Fine),
        ("24 heartbeat at the top", "{heartbeat:{every:'30m'}}", Fine),
        ("24 memorySearch at the top", "{memorySearch:{enabled:false}}", Fine),
        ("24 ttlHours", "{session:{threadBindings:{ttlHours:3}}}", Fine),
        (
            "25 an agent without id",
            "{agents:{list:[{}]}}",
            Issue("agents.list.0.id", "expected string, received undefined"),
        ),
        (
            "26 one directory for two",
            "{agents:{list:[{id:'a',agentDir:'~/x'},{id:'b',agentDir:'~/x'}]}}",
            Issue("agents.list", ""),
        ),
        ("27 one id for two", "{agents:{list:[{id:'a'},{id:'a'}]}}", Fine),
        (
            "28 every soon",
            "{agents:{defaults:{heartbeat:{every:'soon'}}}}",
            Issue("agents.defaults.heartbeat.every", ""),
        ),
        (
            "29 to a pigeon",
            "{agents:{defaults:{heartbeat:{target:'pigeon'}}}}",
            Issue("agents.defaults.heartbeat.target", "unknown heartbeat target: pigeon"),
        ),
        (
            "30 hours without a beat",
            "{agents:{defaults:{heartbeat:{activeHours:{start:'25:00',end:'26:00'}}}}}",
            Fine,
        ),
        ("31 no such scope", "{session:{dmScope:'x'}}", Issue("session.dmScope", "")),
        (
            "31 prune after xx",
            "{session:{maintenance:{pruneAfter:'xx'}}}",
            Issue("session.maintenance.pruneAfter", "invalid duration"),
        ),
        ("32 another main key", "{session:{mainKey:'home'}}", Warns("session.mainKey is ignored")),
        (
            "33 forever",
            "{cron:{sessionRetention:'forever'}}",
            Issue("cron.sessionRetention", "invalid duration"),
        ),
        (
            "33 bananas",
            "{cron:{runLog:{maxBytes:'2 bananas'}}}",
            Issue("cron.runLog.maxBytes", "invalid size"),
        ),
        ("34 loud", "{logging:{level:'loud'}}", Issue("logging.level", "")),
        ("34 nightly", "{update:{channel:'nightly'}}", Issue("update.channel", "")),
        ("34 on", "{discovery:{mdns:{mode:'on'}}}", Issue("discovery.mdns.mode", "")),
        ("35 red", "{ui:{seamColor:'red'}}", Issue("ui.seamColor", "expected hex color (RRGGBB)")),
        (
            "36 a provider nowhere",
            "{models:{providers:{x:{models:[]}}}}",
            Issue("models.providers.x.baseUrl", "expected string, received undefined"),
        ),
        (
            "37 no such dialect",
            "{models:{providers:{x:{baseUrl:'http://h',models:[],api:'foo'}}}}",
            Issue("models.providers.x.api", ""),
        ),
        ("38 a binding to nobody", "{bindings:[{match:{channel:'irc'}}]}", Issue("bindings.0", "")),
        ("38 a binding to a stranger", "{bindings:[{agentId:'zz',match:{channel:'irc'}}]}", Fine),
        (
            "39 a broadcast to a stranger",
            "{agents:{list:[{id:'a'}]},broadcast:{'123':['b']}}",
            Issue("broadcast.123.0", "Unknown agent id \"b\""),
        ),
        (
            "40 an unset variable",
            "{ui:{assistant:{name:'${NOPE}'}}}",
            Warns("Missing env var \"NOPE\""),
        ),
        ("40 a lower-case one is text", "{ui:{assistant:{name:'${nope}'}}}", Fine),
        ("40 an escaped one is text", "{ui:{assistant:{name:'$${NOPE}'}}}", Fine),
        ("41 a number as variable", "{env:{FOO:1}}", Issue("env.FOO", "expected string")),
        (
            "42 an include that is not there",
            "{agents:{$include:'./no.json'}}",
            Issue("<root>", "Failed to read include file"),
        ),
        (
            "42 an include outside",
            "{agents:{$include:'../../etc/passwd'}}",
            Issue("<root>", "Include path escapes config directory"),
        ),
        (
            "42 a number as include",
            "{agents:{$include:5}}",
            Issue("<root>", "expected string or array of strings, got number"),
        ),
        (
            "45 an entry of no plugin",
            "{plugins:{entries:{zzz:{enabled:true}}}}",
            Warns("plugin not found: zzz"),
        ),
        ("45 no plugin allowed", "{plugins:{allow:['zzz']}}", Warns("plugin not found: zzz")),
        (
            "45 no plugin denied",
            "{plugins:{deny:['zzz']}}",
            Issue("plugins.deny", "plugin not found: zzz"),
        ),
        (
            "45 no plugin for memory",
            "{plugins:{slots:{memory:'zzz'}}}",
            Issue("plugins.slots.memory", ""),
        ),
        (
            "45 a path of no plugin",
            "{plugins:{load:{paths:['/no/such']}}}",
            Issue("plugins.load.paths", "plugin path not found: /no/such"),
        ),
        ("46 a schema", "{$schema:'x'}", Fine),
        ("46 a number as schema", "{$schema:5}", Issue("$schema", "expected string")),
        ("47 a newer author", "{meta:{lastTouchedVersion:'2099.1.1'}}", Warns("newer")),
        ("47 a stray key of meta", "{meta:{zz:1}}", Issue("meta", "Unrecognized key: \"zz\"")),
        ("48 identity", "{identity:{}}", Issue("<root>", "\"identity\"")),
        ("48 agent", "{agent:{}}", Issue("<root>", "\"agent\"")),
        ("48 routing", "{routing:{}}", Issue("<root>", "\"routing\"")),
        ("48 bridge", "{bridge:{}}", Issue("<root>", "\"bridge\"")),
        ("49 a prototype", "{\"__proto__\":{polluted:1}}", Fine),
        (
            "50 a relative program",
            "{secrets:{providers:{v:{source:'exec',command:'v.sh'}}}}",
            Issue("secrets.providers.v.command", ""),
        ),
        (
            "50 no such source",
            "{secrets:{providers:{v:{source:'cloud'}}}}",
            Issue("secrets.providers.v.source", ""),
        ),
        ("50 a name in upper case", "{secrets:{providers:{Vault:{source:'env'}}}}", Fine),
        ("51 allow beside alsoAllow", "{tools:{allow:['a'],alsoAllow:['b']}}", Issue("tools", "")),
        ("52 an open section", "{gateway:{tls:{zzz:1}}}", Fine),
    ];
    for (name, text, verdict) in cases {
        judge(name, &place.read(text), verdict);
    }
    assert_eq!(place.read("{gateway:{bind:'0.0.0.0'}}").resolved["gateway"]["bind"], "lan", "12");
    assert!(place.read("{\"__proto__\":{polluted:1}}").resolved.get("polluted").is_none(), "49");
    let of =
        |text: &str| place.read(text).issues[0].allowed_values.clone().unwrap_or_default().len();
    assert_eq!(of("{models:{providers:{x:{baseUrl:'http://h',models:[],api:'foo'}}}}"), 9, "37");
    println!("{} verdicts as recorded", cases.len());
}

#[test]
fn cases_43_and_44_includes_merge_and_are_bounded() {
    let place = Place::new();
    place.write("base.json5", "{list: [{id: 'a'}], defaults: {maxConcurrent: 1}}");
    place.write("extra.json5", "{list: [{id: 'b'}]}");
    let text =
        "{agents: {$include: ['./base.json5', './extra.json5'], defaults: {maxConcurrent: 2}}}";
    let merged = place.read(text);
    judge("43", &merged, &Fine);
    let ids: Vec<&str> = merged.config.agents.list.iter().map(|agent| agent.id.as_str()).collect();
    assert_eq!(ids, ["a", "b"], "43: lists are appended");
    assert_eq!(
        merged.config.agents.defaults.max_concurrent,
        Some(2),
        "43: what stands beside wins"
    );
    place.write("a.json", "{$include: './b.json'}");
    place.write("b.json", "{$include: './a.json'}");
    judge(
        "44 a circle",
        &place.read("{ui: {$include: './a.json'}}"),
        &Issue("<root>", "Circular include detected"),
    );
    for level in 0..12 {
        place.write(&format!("d{level}.json"), &format!("{{$include: './d{}.json'}}", level + 1));
    }
    judge(
        "44 too deep",
        &place.read("{ui: {$include: './d0.json'}}"),
        &Issue("<root>", "Maximum include depth (10) exceeded"),
    );
    place.write("big.json", &" ".repeat(3 * 1024 * 1024));
    judge(
        "44 too big",
        &place.read("{ui: {$include: './big.json'}}"),
        &Issue("<root>", "failed security checks"),
    );
    std::os::unix::fs::symlink("/etc/hostname", place.paths.state.join("out.json")).unwrap();
    judge(
        "44 a link outside",
        &place.read("{ui: {$include: './out.json'}}"),
        &Issue("<root>", "resolves outside config directory"),
    );
}

#[test]
fn case_53_the_sample_files_load() {
    let samples =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/config/samples");
    let mut count = 0;
    for entry in fs::read_dir(samples).unwrap().flatten() {
        let file =
            if entry.path().is_dir() { entry.path().join("openclaw.json5") } else { entry.path() };
        let place = Place::new();
        let mut paths = place.paths.clone();
        paths.config.clone_from(&file);
        let snapshot = load::read(&paths, &place.env);
        judge(&format!("53 {}", file.display()), &snapshot, &Fine);
        count += 1;
    }
    assert_eq!(count, 9);
}

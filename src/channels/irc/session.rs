//! An IRC session as a state machine without a socket: lines in, actions out.

use std::collections::VecDeque;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::base::{clock, id};
use crate::channels::channel::{Fault, SendError};
use crate::channels::irc::line::{self, Line};
use crate::channels::irc::settings::Settings;
use crate::channels::message::{Author, Chat, ChatKind, Inbound};

/// What the connection has to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    Send(String),
    /// Signed in under this nick.
    Ready,
    Receive(Box<Inbound>),
    /// The server has got everything up to this mark.
    Reached(String),
    /// The server refused something that was said there.
    Rejected {
        target: String,
        error: SendError,
    },
    Note(String),
    End(Fault),
}

/// Names that are tried before the account gives up.
const MOST_NICKS: usize = 5;

/// How far the sign-in of the account is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sasl {
    Untried,
    /// It has to end before the registration may.
    Negotiating,
    Done,
}

#[derive(Debug)]
pub(super) struct Session<'s> {
    settings: &'s Settings,
    /// The nick the server knows us by.
    pub(super) nick: String,
    ready: bool,
    sasl: Sasl,
    /// Names that the server did not give us, our own first.
    taken: usize,
    /// It takes no longer names than ours.
    short: bool,
    /// Channels that could not be joined; they are tried again.
    outside: Vec<String>,
}

impl<'s> Session<'s> {
    /// A session that asks for `nick`.
    pub(super) fn new(settings: &'s Settings, nick: String) -> Self {
        Self {
            settings,
            nick,
            ready: false,
            sasl: Sasl::Untried,
            taken: 0,
            short: false,
            outside: Vec::new(),
        }
    }

    /// What is said first.
    pub(super) fn open(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.settings.service.is_some() {
            self.sasl = Sasl::Negotiating;
            lines.push("CAP LS 302".to_owned());
        }
        if let Some(password) = &self.settings.password {
            lines.push(format!("PASS {}", line::plain(password.expose())));
        }
        lines.push(format!("NICK {}", self.nick));
        let (user, real) = (&self.settings.username, &self.settings.realname);
        lines.push(format!("USER {} 0 * :{}", line::plain(user), line::plain(real)));
        lines
    }

    pub(super) fn on_line(&mut self, text: &str) -> VecDeque<Action> {
        let line = Line::parse(text);
        let mut actions = VecDeque::new();
        match line.command.as_str() {
            "PING" => actions.push_back(Action::Send(format!("PONG :{}", line.last()))),
            "PONG" => actions.push_back(Action::Reached(line.last().to_owned())),
            "CAP" => self.on_capability(&line, &mut actions),
            "AUTHENTICATE" if line.last() == "+" => self.authenticate(&mut actions),
            "903" => {
                self.end_negotiation(&mut actions);
                self.sasl = Sasl::Done;
            }
            "902" | "904" | "905" | "906" | "908" => {
                actions.push_back(Action::Note(format!("SASL: {}", line.last())));
                self.end_negotiation(&mut actions);
            }
            "001" => self.on_welcome(&line, &mut actions),
            "432" | "433" | "436" | "437" if !self.ready => {
                self.on_nick_refused(&line, &mut actions);
            }
            "464" => actions.push_back(refused(self, "password", line.last())),
            "465" => actions.push_back(refused(self, "host", line.last())),
            "401" | "403" | "404" | "407" | "408" | "411" | "412" | "415" | "477" | "531" => {
                let error = SendError::Refused(format!("{}: {}", line.param(1), line.last()));
                actions.push_back(Action::Rejected { target: line.param(1).to_owned(), error });
            }
            "405" | "437" | "471" | "473" | "474" | "475" | "476" => {
                self.on_join_refused(&line, &mut actions);
            }
            "JOIN" if line::same(line.nick(), &self.nick) => {
                self.outside.retain(|channel| !line::same(channel, line.param(0)));
            }
            "ERROR" => {
                let text = line.last().to_owned();
                let fault = if self.ready {
                    Fault::Lost(format!("the server closed the connection: {text}"))
                } else {
                    let key =
                        if text.to_lowercase().contains("password") { "password" } else { "host" };
                    let place = self.place_of(key);
                    Fault::Refused(format!(
                        "the server refused the connection: {text}; check {place}"
                    ))
                };
                actions.push_back(Action::End(fault));
            }
            "NICK" if line::same(line.nick(), &self.nick) => line.last().clone_into(&mut self.nick),
            "KICK" if line::same(line.param(1), &self.nick) => {
                let text = format!("kicked from {}: {}", line.param(0), line.last());
                actions.push_back(Action::Note(text));
            }
            "PRIVMSG" => {
                if let Some(message) = self.message(&line) {
                    actions.push_back(Action::Receive(Box::new(message)));
                }
            }
            _ => {}
        }
        actions
    }

    fn on_capability(&mut self, line: &Line, actions: &mut VecDeque<Action>) {
        let offers =
            |list: &str| list.split_whitespace().any(|cap| cap.split('=').next() == Some("sasl"));
        match line.param(1) {
            // A star says that the list goes on.
            "LS" if line.param(2) == "*" && !offers(line.last()) => {}
            "LS" if offers(line.last()) => actions.push_back(Action::Send("CAP REQ :sasl".into())),
            "ACK" if offers(line.last()) => {
                actions.push_back(Action::Send("AUTHENTICATE PLAIN".into()));
            }
            "LS" | "NAK" => self.end_negotiation(actions),
            _ => {}
        }
    }

    fn authenticate(&self, actions: &mut VecDeque<Action>) {
        let Some(service) = &self.settings.service else { return };
        let nick = &self.settings.nick;
        let text = STANDARD.encode(format!("{nick}\0{nick}\0{}", service.password.expose()));
        // Longer answers come in pieces of 400, and a full last one needs an end mark.
        let mut rest = text.as_str();
        while rest.len() >= 400 {
            let (piece, after) = rest.split_at(400);
            actions.push_back(Action::Send(format!("AUTHENTICATE {piece}")));
            rest = after;
        }
        let last = if rest.is_empty() { "+" } else { rest };
        actions.push_back(Action::Send(format!("AUTHENTICATE {last}")));
    }

    fn end_negotiation(&mut self, actions: &mut VecDeque<Action>) {
        if self.sasl == Sasl::Negotiating {
            self.sasl = Sasl::Untried;
            actions.push_back(Action::Send("CAP END".into()));
        }
    }

    fn on_welcome(&mut self, line: &Line, actions: &mut VecDeque<Action>) {
        line.param(0).clone_into(&mut self.nick);
        self.ready = true;
        if let Some(service) = &self.settings.service
            && self.sasl != Sasl::Done
        {
            let (name, password) = (&service.name, line::plain(service.password.expose()));
            if let Some(mail) = &service.register {
                let text = format!("PRIVMSG {name} :REGISTER {password} {}", line::plain(mail));
                actions.push_back(Action::Send(text));
            }
            let wanted = &self.settings.nick;
            if self.taken > 0 && !line::same(&self.nick, wanted) {
                let text = format!("PRIVMSG {name} :GHOST {wanted} {password}");
                actions.push_back(Action::Send(text));
                actions.push_back(Action::Send(format!("NICK {wanted}")));
            }
            actions.push_back(Action::Send(format!("PRIVMSG {name} :IDENTIFY {password}")));
        }
        self.outside.clear();
        for channel in &self.settings.channels {
            actions.push_back(Action::Send(format!("JOIN {}", line::plain(channel))));
        }
        actions.push_back(Action::Ready);
    }

    fn on_nick_refused(&mut self, line: &Line, actions: &mut VecDeque<Action>) {
        let wanted = &self.settings.nick;
        if line.command == "432" {
            if self.taken == 0 || self.short {
                actions.push_back(refused(self, "nick", line.last()));
                return;
            }
            self.short = true;
        }
        self.taken += 1;
        if self.taken > MOST_NICKS {
            actions.push_back(refused(self, "nick", line.last()));
            return;
        }
        self.nick = if self.short {
            let mut stem = wanted.clone();
            stem.pop();
            format!("{stem}{}", self.taken)
        } else {
            format!("{wanted}{}", "_".repeat(self.taken))
        };
        actions.push_back(Action::Send(format!("NICK {}", self.nick)));
    }

    /// After a netsplit, say, a channel is out of reach for a while.
    fn on_join_refused(&mut self, line: &Line, actions: &mut VecDeque<Action>) {
        let wanted = self.settings.channels.iter().find(|channel| {
            // A key may follow the name.
            line::same(channel.split(' ').next().unwrap_or_default(), line.param(1))
        });
        let known = self.outside.iter().any(|channel| line::same(channel, line.param(1)));
        if known || wanted.is_none() {
            return;
        }
        self.outside.push(line.param(1).to_owned());
        let text = format!("cannot join {}: {}; it is tried again", line.param(1), line.last());
        actions.push_back(Action::Note(text));
    }

    /// Whether something is not as configured that may be had later.
    pub(super) fn lacks_something(&self) -> bool {
        self.ready && (!self.outside.is_empty() || !line::same(&self.nick, &self.settings.nick))
    }

    /// What to say for it: our own name, when its holder has gone; channels.
    pub(super) fn ask_again(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !line::same(&self.nick, &self.settings.nick) {
            lines.push(format!("NICK {}", self.settings.nick));
        }
        let outside = |channel: &&String| {
            let name = channel.split(' ').next().unwrap_or_default();
            self.outside.iter().any(|other| line::same(other, name))
        };
        let channels = self.settings.channels.iter().filter(outside);
        lines.extend(channels.map(|channel| format!("JOIN {}", line::plain(channel))));
        lines
    }

    /// Where a setting stands, for messages.
    fn place_of(&self, key: &str) -> String {
        format!("{}{key}", self.settings.path.trim_end_matches("host"))
    }

    fn message(&self, line: &Line) -> Option<Inbound> {
        let nick = line.nick();
        if line::same(nick, &self.nick) || nick.is_empty() || !line.prefix.contains('!') {
            return None;
        }
        let text = line.last();
        let text = match text.strip_prefix('\u{1}') {
            Some(request) => request.strip_prefix("ACTION ")?.trim_end_matches('\u{1}'),
            None => text,
        };
        let text = line::unstyled(text);
        if text.trim().is_empty() {
            return None;
        }
        let target = line.param(0);
        let in_channel = target.starts_with(['#', '&', '+', '!']);
        let mentioned = !in_channel || line::names(&text, &self.nick);
        let (kind, chat) =
            if in_channel { (ChatKind::Group, target) } else { (ChatKind::Direct, nick) };
        let user_host = line.prefix.split_once('!').map_or("", |(_, rest)| rest);
        let (user, host) = user_host.split_once('@').unwrap_or((user_host, ""));
        let mut aliases = vec![format!("{nick}!{user}"), format!("{nick}@{host}")];
        if self.settings.match_names {
            aliases.push(nick.to_owned());
        }
        Some(Inbound {
            channel: "irc".to_owned(),
            account: self.settings.account.clone(),
            id: line.tag("msgid").map_or_else(id::uuid, str::to_owned),
            chat: Chat { kind, id: chat.to_owned(), to: format!("irc:{chat}"), ..Chat::default() },
            author: Author {
                id: line.prefix.clone(),
                aliases: aliases.iter().map(|alias| alias.to_lowercase()).collect(),
                name: nick.to_owned(),
                username: None,
            },
            text: text.trim().to_owned(),
            mentioned,
            at: clock::now_ms(),
            ..Inbound::default()
        })
    }
}

fn refused(session: &Session<'_>, key: &str, said: &str) -> Action {
    let place = session.place_of(key);
    Action::End(Fault::Refused(format!("the server said: {said}; check {place}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::Secret;
    use crate::channels::irc::settings::Service;

    fn settings() -> Settings {
        Settings {
            account: "default".into(),
            host: "irc.test".into(),
            port: 6667,
            tls: false,
            nick: "claw".into(),
            username: "claw".into(),
            realname: "Bot".into(),
            password: None,
            password_source: "none",
            channels: vec!["#claw".into()],
            service: None,
            match_names: false,
            path: "channels.irc.host".into(),
        }
    }

    fn with_service() -> Settings {
        let service =
            Service { name: "NickServ".into(), password: Secret::new("pw"), register: None };
        Settings { service: Some(service), ..settings() }
    }

    fn sent(actions: VecDeque<Action>) -> Vec<String> {
        let text = |action| if let Action::Send(text) = action { Some(text) } else { None };
        actions.into_iter().filter_map(text).collect()
    }

    #[test]
    fn a_taken_nick_gets_an_underscore_and_its_owner_is_sent_away() {
        let settings = with_service();
        let mut session = Session::new(&settings, "claw".into());
        assert_eq!(session.open(), ["CAP LS 302", "NICK claw", "USER claw 0 * :Bot"]);
        assert_eq!(sent(session.on_line(":s 433 * claw :in use")), ["NICK claw_"]);
        assert_eq!(
            sent(session.on_line(":s 001 claw_ :hi")),
            [
                "PRIVMSG NickServ :GHOST claw pw",
                "NICK claw",
                "PRIVMSG NickServ :IDENTIFY pw",
                "JOIN #claw"
            ]
        );
        session.on_line(":claw_!u@h NICK :claw");
        assert_eq!(session.nick, "claw");
    }

    #[test]
    fn a_name_that_is_held_is_asked_for_again_until_it_is_free() {
        let settings = settings();
        let mut session = Session::new(&settings, "claw".into());
        session.open();
        assert_eq!(sent(session.on_line(":s 433 * claw :in use")), ["NICK claw_"]);
        assert!(!session.lacks_something());
        session.on_line(":s 001 claw_ :hi");
        assert!(session.lacks_something());
        assert_eq!(session.ask_again(), ["NICK claw"]);
        assert!(session.on_line(":s 433 claw_ claw :in use").is_empty());
        session.on_line(":claw_!u@h NICK :claw");
        assert!(!session.lacks_something());
    }

    #[test]
    fn a_server_with_short_names_gives_one_as_well() {
        let settings = Settings { nick: "clawsbot9".into(), ..settings() };
        let mut session = Session::new(&settings, settings.nick.clone());
        session.open();
        assert_eq!(sent(session.on_line(":s 433 * clawsbot9 :in use")), ["NICK clawsbot9_"]);
        assert_eq!(sent(session.on_line(":s 432 * clawsbot9_ :too long")), ["NICK clawsbot2"]);
        assert_eq!(sent(session.on_line(":s 433 * clawsbot2 :in use")), ["NICK clawsbot3"]);
        let actions = session.on_line(":s 432 * clawsbot3 :bad");
        assert!(matches!(actions[0], Action::End(Fault::Refused(_))), "{actions:?}");
    }

    #[test]
    fn a_channel_that_is_out_of_reach_is_joined_later() {
        let settings = settings();
        let mut session = Session::new(&settings, "claw".into());
        session.on_line(":s 001 claw :hi");
        let actions = session.on_line(":s 437 claw #Claw :temporarily unavailable");
        assert!(matches!(&actions[0], Action::Note(text) if text.contains("#Claw")), "{actions:?}");
        assert!(session.on_line(":s 437 claw #claw :temporarily unavailable").is_empty());
        assert!(session.on_line(":s 471 claw #other :full").is_empty());
        assert_eq!(session.ask_again(), ["JOIN #claw"]);
        session.on_line(":claw!u@h JOIN :#claw");
        assert!(!session.lacks_something());
    }

    #[test]
    fn a_server_with_sasl_is_signed_in_to_before_the_registration_ends() {
        let settings = with_service();
        let mut session = Session::new(&settings, "claw".into());
        session.open();
        assert_eq!(
            sent(session.on_line(":s CAP * LS :multi-prefix sasl=PLAIN")),
            ["CAP REQ :sasl"]
        );
        assert_eq!(sent(session.on_line(":s CAP * ACK :sasl")), ["AUTHENTICATE PLAIN"]);
        assert_eq!(sent(session.on_line("AUTHENTICATE +")), ["AUTHENTICATE Y2xhdwBjbGF3AHB3"]);
        assert_eq!(sent(session.on_line(":s 903 claw :ok")), ["CAP END"]);
        assert_eq!(sent(session.on_line(":s 001 claw :hi")), ["JOIN #claw"]);
    }

    #[test]
    fn a_server_without_sasl_is_not_kept_waiting() {
        let settings = with_service();
        let mut session = Session::new(&settings, "claw".into());
        session.open();
        assert_eq!(sent(session.on_line(":s CAP * LS :multi-prefix")), ["CAP END"]);
    }

    #[test]
    fn messages_name_their_writer_and_place() {
        let settings = settings();
        let mut session = Session::new(&settings, "claw".into());
        session.on_line(":s 001 claw :hi");
        let receive = |session: &mut Session<'_>, line: &str| {
            session.on_line(line).into_iter().find_map(|action| match action {
                Action::Receive(message) => Some(*message),
                _ => None,
            })
        };
        let group = receive(&mut session, ":Al!a@h PRIVMSG #Claw :claw: hi").unwrap();
        assert_eq!((group.chat.id.as_str(), group.chat.to.as_str()), ("#Claw", "irc:#Claw"));
        assert!(group.mentioned);
        assert_eq!(group.author.id, "Al!a@h");
        assert_eq!(group.author.aliases, ["al!a", "al@h"]);
        let direct = receive(&mut session, ":Al!a@h PRIVMSG claw :hi").unwrap();
        assert_eq!((direct.chat.kind, direct.chat.to.as_str()), (ChatKind::Direct, "irc:Al"));
        assert!(receive(&mut session, ":claw!c@h PRIVMSG #claw :me").is_none());
        assert!(receive(&mut session, ":Al!a@h PRIVMSG claw :\u{1}VERSION\u{1}").is_none());
    }

    #[test]
    fn a_wrong_password_says_where_to_look() {
        let settings = settings();
        let mut session = Session::new(&settings, "claw".into());
        let actions = session.on_line(":s 464 claw :Invalid password");
        let expected = "the server said: Invalid password; check channels.irc.password";
        assert_eq!(actions, [Action::End(Fault::Refused(expected.into()))]);
    }
}

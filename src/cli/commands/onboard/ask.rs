//! The questions of `onboard` and `configure`: answers fill in what the options
//! left open, so that a terminal and a script take the same way.

use std::io::BufRead;

use crate::agents::models::catalog::VENDORS;
use crate::cli::args::onboard::{KeyFlag, OnboardArgs};
use crate::cli::ui::Failure;
use crate::cli::ui::desk::Desk;

/// What can be asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Workspace,
    Model,
    Gateway,
    Daemon,
}

/// Whose models are offered first.
const OFFERED: [&str; 8] =
    ["skip", "openai", "anthropic", "google", "openrouter", "ollama", "custom", "other"];

impl<R: BufRead, S: Fn(&str)> Desk<R, S> {
    pub(super) fn about(
        &mut self,
        section: Section,
        args: &mut OnboardArgs,
        workspace: &str,
        port: u16,
    ) -> Result<(), Failure> {
        match section {
            Section::Workspace if args.workspace.is_none() => {
                args.workspace = Some(self.ask("Directory in which the agent works", workspace)?);
            }
            Section::Model if args.auth_choice.is_none() && args.keys.0.is_empty() => {
                self.models(args)?;
            }
            Section::Gateway => self.gateway(args, port)?,
            Section::Daemon
                if !(args.install_daemon || args.no_install_daemon || args.skip_daemon) =>
            {
                args.install_daemon =
                    self.agree("Install the gateway as a service of this user? (y/n)", "y")?;
            }
            _ => {}
        }
        Ok(())
    }

    fn models(&mut self, args: &mut OnboardArgs) -> Result<(), Failure> {
        let mut choice = self.choose("Whose models answer", &OFFERED, "skip")?;
        if choice == "other" {
            let known: Vec<&str> = VENDORS.iter().map(|vendor| vendor.id).collect();
            choice = self.choose("Provider", &known, "openrouter")?;
        }
        if choice == "custom" {
            args.custom_base_url = Some(self.ask("Address (base URL)", "")?);
            args.custom_model_id = Some(self.ask("Model", "")?);
            let speaks = self.choose("It speaks like", &["openai", "anthropic"], "openai")?;
            args.custom_compatibility = Some(speaks);
            args.custom_api_key = Some(self.ask("API key (empty: none)", "")?);
            args.auth_choice = Some("custom-api-key".to_owned());
            return Ok(());
        }
        if choice != "skip" {
            let vendor = VENDORS.iter().find(|vendor| vendor.id == choice);
            let variable = vendor.and_then(|vendor| vendor.env.first()).unwrap_or(&"");
            let key = self.ask(&format!("API key (empty: what {variable} holds)"), "")?;
            if let Some(vendor) = vendor.filter(|_| !key.is_empty()) {
                args.keys.0.push((KeyFlag { flag: vendor.id, provider: vendor.id }, key));
            }
        }
        args.auth_choice = Some(choice);
        Ok(())
    }

    fn gateway(&mut self, args: &mut OnboardArgs, port: u16) -> Result<(), Failure> {
        if args.gateway_port.is_none() {
            args.gateway_port = Some(self.ask("Port of the gateway", &port.to_string())?);
        }
        if args.gateway_bind.is_none() {
            let binds = ["loopback", "lan", "tailnet", "auto"];
            args.gateway_bind = Some(self.choose("Who may connect", &binds, "loopback")?);
        }
        if args.gateway_auth.is_none() {
            let ways = ["token", "password"];
            args.gateway_auth =
                Some(self.choose("How clients prove themselves", &ways, "token")?);
        }
        let password = args.gateway_auth.as_deref() == Some("password");
        if password && args.gateway_password.is_none() {
            args.gateway_password = Some(self.ask("Password", "")?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_become_options_and_given_options_are_not_asked_for() {
        let answers = "~/desk\nopenai\nsk-1\n\nlan\nmaybe\ntoken\nn\n";
        let mut desk = Desk { input: answers.as_bytes(), show: |_: &str| {}, cancelled: "over" };
        let mut args = OnboardArgs::default();
        let sections = [Section::Workspace, Section::Model, Section::Gateway, Section::Daemon];
        for section in sections {
            desk.about(section, &mut args, "~/w", 18789).unwrap();
        }
        assert_eq!(args.workspace.as_deref(), Some("~/desk"));
        assert_eq!(args.auth_choice.as_deref(), Some("openai"));
        assert_eq!(args.keys.0[0].1, "sk-1");
        assert_eq!(args.gateway_port.as_deref(), Some("18789"));
        assert_eq!((args.gateway_bind.as_deref(), args.install_daemon), (Some("lan"), false));
        args.skip_daemon = true;
        for section in sections {
            desk.about(section, &mut args, "~/w", 18789).unwrap();
        }
        args.workspace = None;
        let over = desk.about(Section::Workspace, &mut args, "~/w", 1).unwrap_err();
        assert_eq!(over.to_string(), "over");
    }
}

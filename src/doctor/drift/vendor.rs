//! The comparison where a package brought the units. Its files are not ours to
//! change; the drop-ins that an install leaves beside them are.

use std::path::Path;

use crate::doctor::drift::units::{
    Files, UNIT_MODE, additions, is_cosmetic, ours_differs, overridden, spec,
};
use crate::doctor::drift::{Difference, Drift, Label};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Repair, Severity};
use crate::doctor::service::{Service, UnitFile};
use crate::supervise::manager::Rendered;
use crate::supervise::spec::{PROXY_VARS, ServiceSpec};
use crate::supervise::systemd::render::{self, Values};
use crate::supervise::systemd::settings::{self, Setting, Standing};
use crate::supervise::systemd::unit::Unit;
use crate::supervise::systemd::vendor::DROP_IN;

pub(super) fn compare(facts: &Facts<'_>, service: &Service, file: &UnitFile) -> Drift {
    let template = file.path.file_name().is_some_and(|name| name.to_string_lossy().contains('@'));
    let packaged = match (service.system, template) {
        (false, false) => ServiceSpec::packaged_user(),
        (false, true) => ServiceSpec::packaged_user_template(),
        (true, false) => ServiceSpec::packaged_system(),
        (true, true) => ServiceSpec::packaged_system_template(),
    };
    let beside = beside(facts, service);
    let mut look = Look {
        service,
        drift: Drift::default(),
        plain: Files::default(),
        forced: Files::default(),
    };
    let pairs = [
        (Some(file), render::service(&packaged, Values::WithSpecifiers)),
        (service.socket.as_ref().filter(|socket| socket.vendor), render::socket(&packaged)),
    ];
    for (file, shipped) in pairs {
        if let Some(file) = file {
            look.at_unit(file, &shipped, &beside);
        }
    }
    let Look { mut drift, plain, forced, .. } = look;
    drift.repair = plain.repair(service);
    drift.forced = forced.repair(service).map(Repair::forced);
    drift
}

/// The drop-ins that an install would leave here, for the port in force.
fn beside(facts: &Facts<'_>, service: &Service) -> Vec<Rendered> {
    if service.system {
        return Vec::new();
    }
    let port = service.port().unwrap_or_else(|| facts.configured_port());
    let spec = spec(facts, service, port);
    let mut files = facts.host.manager(false).render(&spec).unwrap_or_default();
    // Where this program is not the package's, an install writes whole units.
    files.retain(|file| is_ours(service, &file.path));
    files
}

/// Whether an install wrote that drop-in.
fn is_ours(service: &Service, path: &Path) -> bool {
    path.starts_with(&service.places.units) && path.file_name().is_some_and(|name| name == DROP_IN)
}

struct Look<'s> {
    service: &'s Service,
    drift: Drift,
    plain: Files,
    forced: Files,
}

impl Look<'_> {
    fn at_unit(&mut self, file: &UnitFile, shipped: &Unit, beside: &[Rendered]) {
        let specifiers = self.service.specifiers();
        let (unit, merged) = (file.unit(), file.merged());
        let shipped = settings::settings(shipped);
        for setting in &shipped {
            if setting.standing(&unit, &specifiers) != Standing::Same && !is_cosmetic(setting) {
                self.drift.differences.push(Difference {
                    label: Label::VendorUnit,
                    severity: Severity::Info,
                    file: file.path.clone(),
                    line: 0,
                    key: setting.label(),
                    detail: "is not what this version ships; reinstall the package, or change it in a drop-in".to_owned(),
                    guarded: false,
                    is_command: false,
                });
            } else if setting.standing(&merged, &specifiers) != Standing::Same {
                let difference = overridden(file, setting);
                // What an install decided is judged by itself.
                if !is_ours(self.service, &difference.file) {
                    self.drift.differences.push(difference);
                }
            }
        }
        for drop_in in &file.drop_ins {
            let wanted = beside.iter().find(|file| file.path == drop_in.path);
            match wanted {
                Some(wanted) => {
                    let file = UnitFile {
                        path: drop_in.path.clone(),
                        bytes: drop_in.bytes.clone(),
                        mode: UNIT_MODE,
                        ..UnitFile::default()
                    };
                    self.at_drop_in(&file, &wanted.text, &shipped);
                }
                None => additions(&drop_in.path, &drop_in.bytes, &shipped, &mut self.drift),
            }
        }
    }

    /// A drop-in of ours against what an install would write.
    fn at_drop_in(&mut self, file: &UnitFile, wanted: &[u8], shipped: &[Setting]) {
        let specifiers = self.service.specifiers();
        let unit = file.unit();
        let mut ours = settings::settings(&Unit::parse(wanted).0);
        // The empty assignment in front of a command is no setting by itself.
        ours.retain(|setting| !setting.text.is_empty());
        let (mut broken, mut off) = (Vec::new(), Vec::new());
        for setting in &ours {
            let standing = setting.standing(&unit, &specifiers);
            if standing == Standing::Same {
                continue;
            }
            let guarded = setting.is_command();
            let difference = ours_differs(&file.path, setting, &standing, guarded);
            self.drift.differences.push(difference);
            off.push(setting);
            if !guarded {
                broken.push(setting);
            }
        }
        for (files, settings) in [(&mut self.plain, broken), (&mut self.forced, off)] {
            let after = settings::mend(&file.bytes, &settings, &specifiers);
            files.add(file, after, &settings);
        }
        ours.extend_from_slice(shipped);
        let known = self.drift.differences.len();
        additions(&file.path, &file.bytes, &ours, &mut self.drift);
        // The shell that installed the service may have had proxies that this one has not.
        let added = self.drift.differences.split_off(known);
        let is_proxy =
            |key: &str| key.rsplit(' ').next().is_some_and(|name| PROXY_VARS.contains(&name));
        self.drift.differences.extend(added.into_iter().filter(|one| !is_proxy(&one.key)));
    }
}

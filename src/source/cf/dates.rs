//! Dates of the CF conventions: numbers of units since a date of one of several calendars.

/// Years, months and days of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Calendar {
    /// Julian up to 1582-10-04, Gregorian from 1582-10-15 on.
    Standard,
    Gregorian,
    Julian,
    /// Every year has 365 days.
    NoLeap,
    /// Every year has 366 days.
    AllLeap,
    /// Every month has 30 days.
    Days360,
}

type Date = (i64, i64, i64);

const MONTHS: [i64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
/// The first day of the Gregorian calendar.
const REFORM: Date = (1582, 10, 15);
const DAY_US: i64 = 86_400_000_000;

impl Calendar {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "standard" | "gregorian" => Self::Standard,
            "proleptic_gregorian" => Self::Gregorian,
            "julian" => Self::Julian,
            "noleap" | "365_day" => Self::NoLeap,
            "all_leap" | "366_day" => Self::AllLeap,
            "360_day" => Self::Days360,
            _ => return None,
        })
    }

    fn is_leap(self, year: i64) -> bool {
        match self {
            Self::NoLeap | Self::Days360 => false,
            Self::AllLeap => true,
            Self::Julian => year.rem_euclid(4) == 0,
            Self::Standard if year < REFORM.0 => year.rem_euclid(4) == 0,
            Self::Standard | Self::Gregorian => {
                year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0)
            }
        }
    }

    fn month_days(self, year: i64, month: i64) -> i64 {
        match self {
            Self::Days360 => 30,
            _ => MONTHS[month as usize - 1] + i64::from(month == 2 && self.is_leap(year)),
        }
    }

    /// Days from the start of year 1 to the start of `year`, without regard to the reform.
    fn years(self, year: i64) -> i64 {
        let before = year - 1;
        match self {
            Self::NoLeap => 365 * before,
            Self::AllLeap => 366 * before,
            Self::Days360 => 360 * before,
            // The Julian calendar counts two days fewer at the start of year 1.
            Self::Julian => 365 * before + before.div_euclid(4) - 2,
            Self::Standard | Self::Gregorian => {
                365 * before + before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400)
            }
        }
    }

    /// Days from a fixed day to `date`, which the calendars of nature share.
    fn day(self, date: Date) -> i64 {
        let own = match self {
            Self::Standard if date < REFORM => Self::Julian,
            Self::Standard => Self::Gregorian,
            other => other,
        };
        let months: i64 = (1..date.1).map(|month| own.month_days(date.0, month)).sum();
        own.years(date.0) + months + date.2 - 1
    }

    fn date(self, day: i64) -> Date {
        let own = match self {
            Self::Standard if day < Self::Gregorian.day(REFORM) => Self::Julian,
            Self::Standard => Self::Gregorian,
            other => other,
        };
        let mut year = day.div_euclid(366) + 1;
        while own.years(year + 1) <= day {
            year += 1;
        }
        let (mut rest, mut month) = (day - own.years(year), 1);
        while rest >= own.month_days(year, month) {
            rest -= own.month_days(year, month);
            month += 1;
        }
        (year, month, rest + 1)
    }

    fn holds(self, (year, month, day): Date) -> bool {
        let reform = self == Self::Standard && (1582, 10, 5) <= (year, month, day) && (year, month, day) < REFORM;
        (1..=12).contains(&month) && (1..=self.month_days(year, month)).contains(&day) && !reform
    }
}

/// Seconds since 1970 by the calendar, and dates as ISO 8601 writes them, for `values` in `units`: `hours since
/// 1900-01-01`.
///
/// # Errors
/// What is not understood, in words.
pub(super) fn decode(units: &str, calendar: &str, values: &[f64]) -> Result<(Vec<f64>, Vec<String>), String> {
    let kind = Calendar::named(calendar).ok_or_else(|| format!("calendar '{calendar}' is not known"))?;
    let (unit, since) = units.split_once(" since ").ok_or_else(|| format!("'{units}' names no date"))?;
    let unit_us = unit_us(unit.trim(), kind)?;
    let start = reference(since.trim(), kind).ok_or_else(|| format!("'{since}' is no date of calendar {calendar}"))?;
    let zero = kind.day((1970, 1, 1)) * DAY_US;
    let limit = 9e18;
    let at = |value: &f64| {
        let us = (value * unit_us).round();
        if us.is_finite() && us.abs() < limit / 2.0 {
            Ok(start + us as i64)
        } else {
            Err(format!("{value} is no time"))
        }
    };
    let all = values.iter().map(at).collect::<Result<Vec<i64>, String>>()?;
    let whole_days = all.iter().all(|us| us.rem_euclid(DAY_US) == 0);
    let labels = all.iter().map(|&us| text(us, kind, whole_days)).collect();
    Ok((all.iter().map(|us| (us - zero) as f64 / 1e6).collect(), labels))
}

fn unit_us(unit: &str, calendar: Calendar) -> Result<f64, String> {
    let days = match unit.to_lowercase().as_str() {
        "weeks" | "week" => 7.0,
        "months" | "month" if calendar == Calendar::Days360 => 30.0,
        "years" | "year" if calendar == Calendar::Days360 => 360.0,
        "years" | "year" | "common_years" | "common_year" if calendar == Calendar::NoLeap => 365.0,
        "months" | "month" | "years" | "year" => return Err(format!("{unit} differ in length")),
        other => {
            let seconds = crate::unit::seconds(other).or(crate::unit::seconds(unit));
            return seconds.map(|s| s * 1e6).ok_or_else(|| format!("'{unit}' is no unit of time"));
        }
    };
    Ok(days * DAY_US as f64)
}

/// Microseconds of `1900-01-01 00:00:00.0 +1:00`.
fn reference(text: &str, calendar: Calendar) -> Option<i64> {
    let (date, rest) = text.split_once([' ', 'T']).unwrap_or((text, ""));
    let mut parts = date.split('-').map(str::parse::<i64>);
    let date = (parts.next()?.ok()?, parts.next().unwrap_or(Ok(1)).ok()?, parts.next().unwrap_or(Ok(1)).ok()?);
    if parts.next().is_some() || !calendar.holds(date) {
        return None;
    }
    let rest = rest.trim().trim_end_matches("UTC").trim_end_matches("GMT").trim_end_matches('Z').trim();
    let (clock, zone) = match rest.find(['+', '-']) {
        Some(at) => (rest[..at].trim(), &rest[at..]),
        None => rest.split_once(' ').map_or((rest, ""), |(clock, zone)| (clock, zone.trim())),
    };
    let zone_us = if zone.is_empty() {
        0
    } else {
        let us = clock_us(zone.trim_start_matches(['+', '-']))?;
        if zone.starts_with('-') { -us } else { us }
    };
    Some(calendar.day(date) * DAY_US + clock_us(clock)? - zone_us)
}

fn clock_us(text: &str) -> Option<i64> {
    let mut us = 0.0;
    for (part, factor) in text.split(':').filter(|part| !part.is_empty()).zip([3.6e9, 6e7, 1e6]) {
        us += part.parse::<f64>().ok()? * factor;
    }
    Some(us as i64)
}

fn text(us: i64, calendar: Calendar, whole_days: bool) -> String {
    let (day, rest) = (us.div_euclid(DAY_US), us.rem_euclid(DAY_US));
    let (year, month, day) = calendar.date(day);
    let date = format!("{year:04}-{month:02}-{day:02}");
    if whole_days {
        return date;
    }
    let (s, us) = (rest / 1_000_000, rest % 1_000_000);
    let fraction = if us == 0 { String::new() } else { format!(".{us:06}").trim_end_matches('0').to_owned() };
    format!("{date}T{:02}:{:02}:{:02}{fraction}", s / 3600, s / 60 % 60, s % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What cftime 1.6.6 gives: `num2date(value, units, calendar)`.
    const CFTIME: [(&str, &str, f64, &str); 14] = [
        ("hours since 1900-01-01 00:00:00.0", "gregorian", 1_001_568.0, "2014-04-05"),
        ("days since 1850-01-01", "noleap", 59860.0, "2014-01-01"),
        ("days since 1850-01-01", "noleap", 59.5, "1850-03-01T12:00:00"),
        ("days since 1850-1-1", "360_day", 59.0, "1850-02-30"),
        ("days since 2001-01-01", "all_leap", 59.0, "2001-02-29"),
        ("days since 1582-10-04", "standard", 1.0, "1582-10-15"),
        ("days since 1582-10-04", "proleptic_gregorian", 1.0, "1582-10-05"),
        ("days since 1582-10-04", "julian", 11.0, "1582-10-15"),
        ("days since 0001-01-01", "standard", 735_333.0, "2014-04-09"),
        ("seconds since 1970-01-01T00:00:00Z", "standard", 1_396_310_400.25, "2014-04-01T00:00:00.25"),
        ("minutes since 2000-02-28 23:00 +01:00", "standard", 1620.0, "2000-03-01T01:00:00"),
        ("days since 1900-02-28", "standard", 1.0, "1900-03-01"),
        ("days since 1900-02-28", "julian", 1.0, "1900-02-29"),
        ("months since 2000-01-01", "360_day", 13.0, "2001-02-01"),
    ];

    #[test]
    fn dates_are_those_of_cftime() {
        for (units, calendar, value, expected) in CFTIME {
            let (_, labels) = decode(units, calendar, &[value]).unwrap();
            assert_eq!(labels, [expected], "{value} {units} {calendar}");
        }
    }

    #[test]
    fn every_day_has_one_date_and_back() {
        for name in ["standard", "proleptic_gregorian", "julian", "noleap", "all_leap", "360_day"] {
            let calendar = Calendar::named(name).unwrap();
            let (first, last) = (calendar.day((1, 1, 1)), calendar.day((2401, 1, 1)));
            let mut before = (0, 0, 0);
            for day in first..last {
                let date = calendar.date(day);
                assert!(before < date && calendar.holds(date) && calendar.day(date) == day, "{name} {date:?}");
                before = date;
            }
        }
    }

    #[test]
    fn seconds_count_from_1970_in_every_calendar() {
        for calendar in ["standard", "noleap", "360_day"] {
            assert_eq!(decode("days since 1970-01-01", calendar, &[1.5]).unwrap().0, [129_600.0], "{calendar}");
        }
    }

    #[test]
    fn what_is_no_date_is_said() {
        for (units, calendar) in [
            ("months since 2000-01-01", "standard"),
            ("days since 2001-02-29", "noleap"),
            ("days since 1582-10-10", "standard"),
            ("parsecs since 2000-01-01", "standard"),
            ("days since yesterday", "standard"),
            ("days since 2000-01-01", "martian"),
        ] {
            assert!(decode(units, calendar, &[1.0]).is_err(), "{units} {calendar}");
        }
        assert!(decode("days since 2000-01-01", "standard", &[f64::NAN]).is_err());
    }
}

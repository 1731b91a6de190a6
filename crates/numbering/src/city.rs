//! Cities and their area codes.

use std::collections::HashMap;
use std::sync::LazyLock;

/// A city of the number plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct City {
    /// Province.
    pub province: &'static str,
    /// Name.
    pub name: &'static str,
    /// With its leading 0: `0755`, `010`.
    pub area_code: &'static str,
}

const TABLE: &str = include_str!("../cities.csv");

static CITIES: LazyLock<Vec<City>> = LazyLock::new(|| {
    TABLE
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.trim().split(',');
            Some(City { province: fields.next()?, name: fields.next()?, area_code: fields.next()? })
        })
        .collect()
});

static BY_AREA: LazyLock<HashMap<u32, &'static City>> = LazyLock::new(|| {
    CITIES.iter().filter_map(|city| Some((city.area_code.parse().ok()?, city))).collect()
});

/// Every city, in the order of the table.
#[must_use]
pub fn cities() -> &'static [City] {
    &CITIES
}

/// The city of an area code without its leading 0 (`755`, `10`). Where several cities share a code, the last of them.
#[must_use]
pub fn city_of_area(area: u32) -> Option<&'static City> {
    BY_AREA.get(&area).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        assert_eq!(cities().len(), TABLE.lines().count() - 1);
        assert!(cities().iter().all(|city| city.area_code.starts_with('0') && (3..=4).contains(&city.area_code.len())));
        assert_eq!(city_of_area(755).map(|city| city.name), Some("深圳"));
        assert_eq!(city_of_area(10).map(|city| city.name), Some("北京"));
        assert_eq!(city_of_area(999), None);
    }
}

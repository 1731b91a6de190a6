//! The city table: which area code belongs to which city.
//!
//! 314 rows, compiled in. Some area codes serve two or three cities (028 is 成都, 眉山 and 资阳), and some cities stand
//! under an old and a new name: a code alone then names the first row of the table.

use std::sync::LazyLock;

const CSV: &str = include_str!("../cities.csv");

/// Area codes without their 0 are below this.
const CODES: usize = 1000;

static CITIES: LazyLock<Cities> = LazyLock::new(|| Cities::parse(CSV));

/// A row of the city table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct City {
    /// Province, in Chinese: `广东`.
    pub province: &'static str,
    /// Name, in Chinese: `深圳`.
    pub name: &'static str,
    /// With its leading 0: `0755`, `010`.
    pub area_code: &'static str,
}

/// Every city, in the order of the table.
#[must_use]
pub fn cities() -> &'static [City] {
    &CITIES.rows
}

/// The city of an area code without its leading 0 (755, 10). Where several cities share a code, the first of them.
#[must_use]
pub fn city_of_area(area: u32) -> Option<&'static City> {
    let row = (*CITIES.first.get(usize::try_from(area).ok()?)?)?;
    CITIES.rows.get(usize::from(row))
}

/// The cities of an area code with its leading 0 (`0755`), in the order of the table.
pub fn cities_of_area(area_code: &str) -> impl Iterator<Item = &'static City> {
    cities().iter().filter(move |city| city.area_code == area_code)
}

struct Cities {
    rows: Vec<City>,
    /// Area code without its 0 → place of its first row.
    first: Vec<Option<u16>>,
}

impl Cities {
    /// Reads `province,city,area_code` rows below one heading. A row of another shape is passed over; a test counts
    /// the rows of the compiled-in table.
    fn parse(csv: &'static str) -> Cities {
        let mut cities = Cities { rows: Vec::new(), first: vec![None; CODES] };
        for line in csv.lines().skip(1) {
            let mut fields = line.split(',').map(str::trim);
            let (Some(province), Some(name), Some(area_code), None) =
                (fields.next(), fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            let Some(code) = area_code.strip_prefix('0').and_then(|code| code.parse::<usize>().ok()) else {
                continue;
            };
            let row = u16::try_from(cities.rows.len()).ok();
            if let Some(first) = cities.first.get_mut(code) {
                *first = first.or(row);
                cities.rows.push(City { province, name, area_code });
            }
        }
        cities
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_its_314_rows_and_no_line_is_passed_over() {
        assert_eq!(cities().len(), 314);
        assert_eq!(CSV.lines().count(), 315);
    }

    #[test]
    fn every_row_is_well_formed_and_is_found_by_its_code() {
        for city in cities() {
            assert!(!city.province.is_empty() && !city.name.is_empty());
            let digits = city.area_code.as_bytes();
            assert!(digits.iter().all(u8::is_ascii_digit));
            assert_eq!(digits[0], b'0');
            // 010 and 02x are three digits with their 0, all others four: the kinds of numbers count on it.
            let short = matches!(digits[1], b'1' | b'2');
            assert_eq!(digits.len(), if short { 3 } else { 4 }, "{city:?}");
            assert!(cities_of_area(city.area_code).any(|found| found == city));
            let first = city_of_area(city.area_code.parse().unwrap()).unwrap();
            assert_eq!(first.area_code, city.area_code);
        }
    }

    #[test]
    fn no_city_has_an_area_code_that_begins_with_the_country_code() {
        // Else 86… would be ambiguous between "country code first" and "area code without its 0".
        assert!(cities().iter().all(|city| !city.area_code.starts_with("086")));
    }

    #[test]
    fn a_shared_area_code_names_all_its_cities_and_first_the_first() {
        let names: Vec<_> = cities_of_area("028").map(|city| city.name).collect();
        assert_eq!(names, ["成都", "眉山", "资阳"]);
        assert_eq!(city_of_area(28).unwrap().name, "成都");
        assert_eq!(city_of_area(10).unwrap().name, "北京");
        let shenzhen: Vec<_> = cities_of_area("0755").collect();
        assert_eq!(shenzhen.len(), 1);
        assert_eq!((shenzhen[0].province, shenzhen[0].name), ("广东", "深圳"));
    }

    #[test]
    fn unknown_codes_name_no_city() {
        for code in ["0860", "755", "", "0", "075", "07550"] {
            assert_eq!(cities_of_area(code).count(), 0, "{code}");
        }
        for code in [0, 999, 1000, u32::MAX] {
            assert_eq!(city_of_area(code), None);
        }
    }

    #[test]
    fn rows_of_another_shape_are_passed_over() {
        let cities = Cities::parse("h\na,b\na,b,0755,c\na,b,755\na,b,0x\na,b,09999\n\na,b,0755\n");
        assert_eq!(cities.rows.len(), 1);
    }
}

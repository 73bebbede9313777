import { assert, assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../base/input_error.ts";
import { worldTables } from "./facts.ts";

const tables = worldTables({ countries: 64, cities: 120, airports: 120 });

Deno.test("worldTables() gives as many countries, cities and airports as asked for", () => {
  assertEquals([tables.countries.length, tables.cities.length, tables.airports.length], [64, 120, 120]);
});

Deno.test("worldTables() gives names of one token, each used once", () => {
  const names = [...tables.countries, ...tables.cities].map(({ name }) => name);
  assertEquals(new Set(names).size, names.length);
  for (const { capital, currency, language, continent, dish } of tables.countries) {
    names.push(...[capital, currency, language, continent, dish].filter((name) => name !== undefined));
  }
  for (const name of names) assert(/^[\p{L}\u00a0]+$/u.test(name), name);
  const codes = tables.airports.map(({ code }) => code);
  assert(codes.every((code) => /^[A-Z]{3}$/.test(code)));
  assertEquals(new Set(codes).size, 120);
  assertEquals(new Set(tables.airports.map(({ city }) => city)).size, 120);
});

Deno.test("worldTables() takes at most three cities a country, each of more than half a million people", () => {
  for (const [, cities] of Map.groupBy(tables.cities, ({ country }) => country)) assert(cities.length <= 3);
  assert(tables.cities.every(({ population }) => population > 500_000));
});

Deno.test("worldTables() says what is true", () => {
  const japan = tables.countries.find(({ name }) => name === "Japan")!;
  assertEquals(
    [japan.capital, japan.currency, japan.language, japan.continent, japan.diallingCode],
    ["Tokyo", "Japanese\u00a0Yen", "Japanese", "Asia", "81"],
  );
  assertEquals(tables.airports.find(({ city }) => city === "Rome")?.code, "FCO");
  assertEquals(tables.cities.find(({ name }) => name === "Alexandria")?.country, "Egypt");
});

Deno.test("worldTables() has no fact where there is more than one true value", () => {
  const canada = tables.countries.find(({ name }) => name === "Canada")!;
  assertEquals([canada.language, canada.continent], [undefined, "North\u00a0America"]);
  assertEquals(tables.countries.find(({ name }) => name === "Russia")!.continent, undefined);
});

Deno.test("worldTables() spreads currencies, languages and continents, so that a guess is worth little", () => {
  assert(new Set(tables.countries.map(({ currency }) => currency)).size >= 50);
  assert(new Set(tables.countries.map(({ language }) => language)).size >= 25);
  assert(tables.countries.filter(({ currency }) => currency === "Euro").length <= 6);
});

Deno.test("worldTables() refuses a world bigger than the packages", () => {
  const refused = (countries: number, cities: number, airports: number, message: string) =>
    assertThrows(() => worldTables({ countries, cities, airports }), InputError, message);
  refused(150, 120, 120, "Cannot build a world of 150 countries");
  refused(64, 400, 120, "Cannot build a world of 400 cities");
  refused(64, 100, 120, "each airport needs its own city");
});

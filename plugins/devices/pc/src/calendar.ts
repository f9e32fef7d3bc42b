/** Days and dates of the Gregorian calendar for the real-time clock, without the host's Date and its time zone. */

/** A date and time of day, UTC. Months 1-12, days of week 1 (Sunday) to 7. */
export interface Calendar {
  second: number;
  minute: number;
  hour: number;
  day: number;
  month: number;
  year: number;
}

const DAY = 86_400;
/** Days of a 400-year cycle. */
const CYCLE = 146_097;
/** Days from 0000-03-01 to 1970-01-01. */
const EPOCH = 719_468;

/** The calendar's reading `seconds` after 1970-01-01 00:00:00. */
export function toCalendar(seconds: number): Calendar & { dayOfWeek: number } {
  const days = Math.floor(seconds / DAY);
  const ofDay = seconds - days * DAY;
  // Years begin in March, so that the leap day is the last of its year.
  const shifted = days + EPOCH;
  const cycle = Math.floor(shifted / CYCLE);
  const ofCycle = shifted - cycle * CYCLE;
  const yearOfCycle = Math.floor(
    (ofCycle - Math.floor(ofCycle / 1460) + Math.floor(ofCycle / 36_524) - Math.floor(ofCycle / 146_096)) / 365,
  );
  const ofYear = ofCycle - (365 * yearOfCycle + Math.floor(yearOfCycle / 4) - Math.floor(yearOfCycle / 100));
  const marchMonth = Math.floor((5 * ofYear + 2) / 153);
  const month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9;
  return {
    second: ofDay % 60,
    minute: Math.floor(ofDay / 60) % 60,
    hour: Math.floor(ofDay / 3600),
    day: ofYear - Math.floor((153 * marchMonth + 2) / 5) + 1,
    month,
    year: yearOfCycle + cycle * 400 + (month <= 2 ? 1 : 0),
    dayOfWeek: ((((days + 4) % 7) + 7) % 7) + 1,
  };
}

/** Seconds since 1970-01-01 of a reading; values out of range carry over, as in a clock set to nonsense. */
export function fromCalendar(calendar: Calendar): number {
  const month = Math.min(12, Math.max(1, calendar.month));
  const year = calendar.year - (month <= 2 ? 1 : 0);
  const cycle = Math.floor(year / 400);
  const yearOfCycle = year - cycle * 400;
  const ofYear = Math.floor((153 * (month + (month > 2 ? -3 : 9)) + 2) / 5) + Math.max(1, calendar.day) - 1;
  const ofCycle = yearOfCycle * 365 + Math.floor(yearOfCycle / 4) - Math.floor(yearOfCycle / 100) + ofYear;
  return (cycle * CYCLE + ofCycle - EPOCH) * DAY + calendar.hour * 3600 + calendar.minute * 60 + calendar.second;
}

/** What the React side takes and gives. */

import type { CSSProperties } from "react";
import type { ConnectionState, GetToken, Job, Totals, Watch } from "./types.d.ts";

export interface UseOptions {
  /** Address of the service. Usually where this client was loaded from. */
  src?: string | null;
  /** Gives a bearer token, at every attempt; without it the session's cookie counts. */
  getToken?: GetToken | null;
}

export interface EnrichmentProgress extends Pick<Watch, "pause" | "resume" | "cancel"> {
  /** Those at work, and those that ended within the last seconds; the newest first. */
  readonly activeJobs: readonly Job[];
  readonly totals: Totals | null;
  readonly connection: ConnectionState;
  /** Nothing is known yet, and nothing speaks against it. */
  readonly isLoading: boolean;
}

export interface EnrichmentProgressBarProps extends UseOptions {
  /** Whose jobs. Without a user nothing is watched. */
  userId?: string | null;
  /** One line instead of a card. */
  compact?: boolean;
  theme?: "light" | "dark" | "system";
  lang?: string;
  history?: boolean;
  notify?: boolean;
  titleProgress?: boolean;
  demo?: boolean | string;
  className?: string;
  style?: CSSProperties;
  onJobChange?: (event: CustomEvent) => void;
  onJobFinished?: (event: CustomEvent) => void;
  onConnectionChange?: (event: CustomEvent) => void;
  onCommandFailed?: (event: CustomEvent) => void;
}
